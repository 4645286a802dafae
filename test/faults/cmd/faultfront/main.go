// Command faultfront stands as a process of its own before SQS and DynamoDB and makes them fail; see package
// faults. Its faults can be changed while it runs:
//
//	go run ./test/faults/cmd/faultfront -dynamodb http://127.0.0.1:18000 -sqs http://127.0.0.1:19324 \
//	  -faults '{"write_units":100,"rules":[{"fault":"error-after","rate":0.01}]}'
//	curl -X PUT -d '{}' http://127.0.0.1:…/faults
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tributary/test/faults"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "faultfront:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	dynamodb := flag.String("dynamodb", "", "URL of the DynamoDB behind")
	sqs := flag.String("sqs", "", "URL of the SQS behind")
	seed := flag.Uint64("seed", 1, "what is drawn from")
	config := flag.String("faults", "{}", "what goes wrong, as JSON: see faults.Config")
	flag.Parse()

	var what faults.Config
	if err := json.Unmarshal([]byte(*config), &what); err != nil {
		return fmt.Errorf("read -faults: %w", err)
	}
	front, err := faults.New(faults.Backends{DynamoDB: *dynamodb, SQS: *sqs}, *seed, what)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", *listen, err)
	}
	server := &http.Server{Handler: front, ReadHeaderTimeout: 10 * time.Second}
	fmt.Printf("http://%s\n", listener.Addr()) // the one line that a program which started this one reads
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	err = errors.Join(server.Close(), json.NewEncoder(os.Stdout).Encode(front.Counts()))
	front.Close()
	return err
}
