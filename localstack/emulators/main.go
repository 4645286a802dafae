//go:build linux || darwin

// Command emulators runs software that others wrote in AWS's place: Amazon's DynamoDB Local and ElasticMQ, on
// ports of their own and without Docker. `up` and `down` serve a person, `exec` serves a test run: it starts a
// pair of its own on free ports, runs a command with their addresses in its environment and ends them.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Default ports of `up`: beside the defaults of both programs (8000, 9324) and of the embedded stack (4566).
const (
	defaultDynamoDBPort = 18000
	defaultSQSPort      = 19324
)

const usage = `usage: go run ./localstack/emulators COMMAND [-dynamodb-port N] [-sqs-port N]

  install           fetch DynamoDB Local and ElasticMQ into localstack/.emulators (Java 17 and Maven needed)
  up                start both, wait until they answer, print their addresses
  down              end what up started, and nothing else
  status            say what runs where; status 1 where anything does not
  exec -- COMMAND   start both on free ports, run COMMAND with their addresses in
                    TRIBUTARY_TEST_DYNAMODB and TRIBUTARY_TEST_SQS, end both, exit with COMMAND's status

Where Java or Maven is missing, and can't be installed by apt-get, up and exec say so and go on without; with
CI=true they fail.
`

func main() {
	// Ctrl-C reaches the command that exec runs by itself; this program stays to clean up behind it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	if len(args) == 0 {
		_, _ = fmt.Fprint(stderr, usage)
		return 2
	}
	flags := flag.NewFlagSet("emulators "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { _, _ = fmt.Fprint(stderr, usage) }
	dynamodbPort := flags.Int("dynamodb-port", defaultDynamoDBPort, "port of DynamoDB Local")
	sqsPort := flags.Int("sqs-port", defaultSQSPort, "port of ElasticMQ")
	if err := flags.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	root, err := moduleRoot()
	if err != nil {
		return fail(err)
	}
	home := filepath.Join(root, "localstack", ".emulators")
	pom := filepath.Join(root, "localstack", "pom.xml")
	if args[0] != "exec" && flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "emulators: unexpected argument %q\n\n%s", flags.Arg(0), usage)
		return 2
	}

	switch args[0] {
	case "install":
		if _, err := install(ctx, home, pom); err != nil {
			return fail(err)
		}
	case "up":
		java, err := install(ctx, home, pom)
		if err != nil {
			return withoutJava(err)
		}
		run := instance(home, "up", java, *dynamodbPort, *sqsPort)
		if err := run.start(ctx); err != nil {
			return fail(err)
		}
		fmt.Println("DynamoDB Local answers at", run.emulators[0].endpoint())
		fmt.Println("ElasticMQ answers at", run.emulators[1].endpoint())
		fmt.Print("\nexport AWS_ENDPOINT_URL_DYNAMODB=", run.emulators[0].endpoint(),
			" AWS_ENDPOINT_URL_SQS=", run.emulators[1].endpoint(),
			" AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local\n")
	case "down":
		if err := instance(home, "up", "", *dynamodbPort, *sqsPort).stop(); err != nil {
			return fail(err)
		}
		return stopOrphans(home)
	case "status":
		return instance(home, "up", "", *dynamodbPort, *sqsPort).status(ctx)
	case "exec":
		if flags.NArg() == 0 {
			_, _ = fmt.Fprint(stderr, "emulators: exec needs a command\n\n", usage)
			return 2
		}
		return execute(ctx, home, pom, flags.Args())
	case "help", "-h", "--help":
		fmt.Print(usage)
	default:
		_, _ = fmt.Fprintf(stderr, "emulators: unknown command %q\n\n%s", args[0], usage)
		return 2
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "emulators:", err)
	return 1
}

// withoutJava tells a missing Java or Maven apart from all other trouble: it fails only in CI, where half of the
// tests must not go missing unseen.
func withoutJava(err error) int {
	var missing *missingError
	if !errors.As(err, &missing) || os.Getenv("CI") == "true" {
		return fail(err)
	}
	const rule = "================================================================================"
	fmt.Fprintf(os.Stderr, "%s\nemulators: NOT STARTED: %v\nWhat needs DynamoDB Local and ElasticMQ is skipped. With CI=true this fails.\n%s\n", rule, err, rule)
	return 0
}

// execute runs a command between the start and the end of a pair of its own.
func execute(ctx context.Context, home, pom string, command []string) int {
	environment := os.Environ()
	java, err := install(ctx, home, pom)
	if err == nil {
		ports, portsErr := freePorts(2)
		if portsErr != nil {
			return fail(portsErr)
		}
		run := instance(home, fmt.Sprintf("exec-%d", os.Getpid()), java, ports[0], ports[1])
		defer func() {
			if err := run.stop(); err != nil {
				fail(err)
			}
		}()
		if err := run.start(ctx); err != nil {
			return fail(err)
		}
		environment = append(environment,
			"TRIBUTARY_TEST_DYNAMODB="+run.emulators[0].endpoint(),
			"TRIBUTARY_TEST_SQS="+run.emulators[1].endpoint())
	} else if status := withoutJava(err); status != 0 {
		return status
	}

	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment, os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fail(fmt.Errorf("start %s: %w", command[0], err))
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
		case <-ended:
		}
	}()
	err = cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		return fail(fmt.Errorf("run %s: %w", command[0], err))
	}
}

// freePorts finds ports that nobody listens on. All are held until the last is found, so that they differ.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// moduleRoot is the nearest folder upwards that has a go.mod of this module.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working folder: %w", err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		f, err := os.Open(filepath.Join(dir, "go.mod"))
		if err == nil {
			line, _ := bufio.NewReader(f).ReadString('\n')
			_ = f.Close()
			if strings.TrimSpace(line) == "module tributary" {
				return dir, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside Tributary's source tree: run this from there", start)
		}
	}
}

// tail returns the last lines of a log, for an error that has to show why a program did not start.
func tail(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-16<<10), io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
