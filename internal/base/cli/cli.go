// Package cli gives both programs one way to parse a command line, to name settings and to fail.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"tributary/internal/base/version"
)

// Exit statuses beside 0.
const (
	StatusFailed  = 1 // the command ran and failed
	StatusUsage   = 2 // the command line or the environment is wrong: nothing was done
	StatusPartial = 3 // done, except for the parts that were refused
)

// StatusError carries the exit status of a command.
type StatusError struct {
	Status int
	Err    error // printed; nil if everything was printed already
}

func (e *StatusError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *StatusError) Unwrap() error { return e.Err }

// Usage makes an error that ends the program with StatusUsage.
func Usage(format string, args ...any) error {
	return &StatusError{Status: StatusUsage, Err: fmt.Errorf(format, args...)}
}

// Streams are the program's standard streams: data goes to Out, messages for people to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Version is the type of a --version flag.
type Version bool

// BeforeReset prints the version and ends the program, whatever else the command line says.
func (Version) BeforeReset(app *kong.Kong) error {
	_, _ = fmt.Fprintln(app.Stdout, app.Model.Name, version.String())
	app.Exit(0)
	return nil
}

// Main parses args into grammar, a pointer to a kong grammar, runs the chosen command and returns the exit
// status. A command's Run method may take a context.Context and a *Streams. Every flag gets an environment
// variable, TRIBUTARY_ and its name, unless its tag says otherwise.
func Main(ctx context.Context, name, description string, grammar any, args []string, s *Streams, options ...kong.Option) int {
	exited := -1
	options = append([]kong.Option{
		kong.Name(name),
		kong.Description(description),
		kong.DefaultEnvars("TRIBUTARY"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(status int) { exited = status; panic(exit{}) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
	}, options...)
	status := StatusFailed
	func() {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(exit); !ok {
					panic(r)
				}
				status = exited
			}
		}()
		status = run(name, grammar, args, s, options)
	}()
	return status
}

// exit unwinds the stack when kong wants to end the program after --help or --version.
type exit struct{}

func run(name string, grammar any, args []string, s *Streams, options []kong.Option) int {
	parser, err := kong.New(grammar, options...)
	if err != nil {
		_, _ = fmt.Fprintf(s.Err, "%s: %v\n", name, err)
		return StatusFailed
	}
	// Kong would replace the bytes, so that different ids become one.
	if i := slices.IndexFunc(args, func(arg string) bool { return !utf8.ValidString(arg) }); i >= 0 {
		_, _ = fmt.Fprintf(s.Err, "%s: the argument %q is not valid UTF-8\n", name, args[i])
		return StatusUsage
	}
	k, err := parser.Parse(args)
	if err != nil {
		_, _ = fmt.Fprintf(s.Err, "%s: %v (see %s --help)\n", name, err, name)
		return StatusUsage
	}
	if err := k.Run(); err != nil {
		var status *StatusError
		if !errors.As(err, &status) {
			status = &StatusError{Status: StatusFailed, Err: err}
		}
		if status.Err != nil {
			_, _ = fmt.Fprintf(s.Err, "%s: %v\n", name, status.Err)
		}
		return status.Status
	}
	return 0
}

// OS returns the streams of the process.
func OS() *Streams { return &Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }
