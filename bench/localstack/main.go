// Command localstack measures the local stack as a newcomer does: orders are imported by 'producer import --wait' and
// written by 'worker run', all default. It prints how many orders a second reach the table in the first and in the last
// tenth, how much memory the stack takes for each, and the processor time that each program takes for one: on a
// machine that others use too, that is the figure to compare.
//
//	make bench-localstack ORDERS=1500000
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	bin := flag.String("bin", "bin", "folder of the programs localstack, worker and producer")
	orders := flag.Int("orders", 1_500_000, "orders to import")
	tenants := flag.String("tenants", "1,1000", "numbers of tenants, one run for each")
	data := flag.Bool("data", false, "keep the stack's data in a directory, as --data does")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the stack's last run to this file, taken through its --pprof door")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, n := range strings.Split(*tenants, ",") {
		count, err := strconv.Atoi(n)
		if err == nil && count < 1 {
			err = errors.New("it must be 1 or more")
		}
		if err == nil {
			err = run(ctx, *bin, *orders, count, *data, *profile)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s tenants: %v\n", n, err)
			stop()
			os.Exit(1) //nolint:gocritic // stop was called
		}
	}
}

func run(ctx context.Context, bin string, orders, tenants int, data bool, profile string) (err error) {
	dir, err := os.MkdirTemp("", "bench-localstack-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "orders.csv")
	if err := writeOrders(file, orders, tenants); err != nil {
		return fmt.Errorf("write orders: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := []string{"--listen", "127.0.0.1:0"}
	if data {
		args = append(args, "--data", filepath.Join(dir, "data"))
	}
	if profile != "" {
		args = append(args, "--cpuprofile", profile)
	}
	stack, endpoint, err := startStack(ctx, filepath.Join(bin, "localstack"), args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end(stack)) }()
	program := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+endpoint, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench", "AWS_CONFIG_FILE="+os.DevNull)
		cmd.Dir = dir
		return cmd
	}
	if out, err := program("worker", "setup").CombinedOutput(); err != nil {
		return fmt.Errorf("worker setup: %w: %s", err, out)
	}
	before := memory(stack.Process.Pid)
	worker := program("worker", "run", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	var said bytes.Buffer
	worker.Stderr = &said
	if err := worker.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	defer func() { _ = end(worker) }()
	importing := program("producer", "import", file, "--type", "put_order", "--wait", "--quiet")
	importing.Stderr = os.Stderr
	if err := importing.Start(); err != nil {
		return fmt.Errorf("start import: %w", err)
	}
	imported := make(chan error, 1)
	go func() { imported <- importing.Wait() }()

	marks, peak, err := watch(ctx, endpoint, stack.Process.Pid, orders)
	if err != nil {
		return fmt.Errorf("%w; the worker said: %s", err, said.String())
	}
	if err := <-imported; err != nil {
		return fmt.Errorf("producer import: %w", err)
	}
	spent := func(pid int) float64 { return float64(cpu(pid).Microseconds()) / float64(orders) }
	importer := importing.ProcessState.UserTime() + importing.ProcessState.SystemTime()
	fmt.Printf("CPU an order: stack %.1f us, worker %.1f us, import %.1f us\n",
		spent(stack.Process.Pid), spent(worker.Process.Pid), float64(importer.Microseconds())/float64(orders))
	time.Sleep(time.Second) // what is freed by then doesn't count
	after := memory(stack.Process.Pid)
	tenth := float64(orders) / 10
	fmt.Printf("%d orders, %d tenants: first tenth %.0f/s, last tenth %.0f/s, all %.0f/s; %d bytes of memory an order (at most %d)\n",
		orders, tenants, tenth/marks[1].Sub(marks[0]).Seconds(), tenth/marks[10].Sub(marks[9]).Seconds(),
		float64(orders)/marks[10].Sub(marks[0]).Seconds(), (after-before)/orders, (peak-before)/orders)
	return nil
}

// writeOrders makes the file: ids in no order, which is the harder case for an ordered tree.
func writeOrders(file string, orders, tenants int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same orders each time
	_, _ = w.WriteString("tenant_id,user_id,order_id,order_amount\n")
	for i := range orders {
		_, _ = fmt.Fprintf(w, "tenant-%d,user-%d,%08x-%04x-4%03x-8%03x-%012x,%d.%02d\n", i%tenants, r.IntN(orders/10+1),
			r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16, r.IntN(100_000), r.IntN(100))
	}
	return errors.Join(w.Flush(), f.Close())
}

// startStack starts the stack and waits for its address.
func startStack(ctx context.Context, program string, args []string) (*exec.Cmd, string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start localstack: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), "AWS_ENDPOINT_URL="); ok {
			url, _, _ := strings.Cut(rest, " ")
			go func() {
				for lines.Scan() {
					fmt.Fprintln(os.Stderr, lines.Text())
				}
			}()
			return cmd, url, nil
		}
		fmt.Fprintln(os.Stderr, lines.Text())
	}
	return nil, "", errors.New("localstack ended")
}

// end stops a program as ctrl-C does.
func end(cmd *exec.Cmd) error {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	return cmd.Wait()
}

// watch notes when each tenth of the orders was in the table, the first mark being that of the first order.
func watch(ctx context.Context, endpoint string, pid, orders int) (marks [11]time.Time, peak int, err error) {
	next := 0
	for next <= 10 {
		select {
		case <-ctx.Done():
			return marks, peak, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		n, err := items(ctx, endpoint)
		if err != nil {
			return marks, peak, err
		}
		for now := time.Now(); next <= 10 && n > 0 && n >= orders*next/10; next++ {
			marks[next] = now
		}
		peak = max(peak, memory(pid))
	}
	return marks, peak, nil
}

// items is how many items the stack's table has.
func items(ctx context.Context, endpoint string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/status", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask for status: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var status struct {
		Tables []struct{ Items int }
	}
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil || len(status.Tables) != 1 {
		return 0, fmt.Errorf("ask for status: %d tables, %w", len(status.Tables), err)
	}
	return status.Tables[0].Items, nil
}

// memory is a process's resident memory in bytes, as Linux tells it.
func memory(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(fields[1]) // 0 where it is none
	return pages * os.Getpagesize()
}

// cpu is how much processor time a process has taken, as Linux tells it.
func cpu(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ") // behind the program's name
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	const tick = 10 * time.Millisecond // Linux's, for all programs
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick
}
