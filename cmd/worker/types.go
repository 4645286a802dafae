package main

import (
	"errors"
	"fmt"
	"io"

	"tributary/internal/base/cli"
	"tributary/internal/query"
	"tributary/internal/schema"
)

// readTypes reads the declared types. What is wrong is written to s.Err: of a file that was read a line each, as they are. The error then
// only has the exit status.
func readTypes(file schema.File, s *cli.Streams) (*schema.Set, error) {
	types, err := file.Read()
	return types, typesError(err, s)
}

func typesError(err error, s *cli.Streams) error {
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*schema.Error](err); ok {
		_, _ = fmt.Fprintln(s.Err, wrong)
	} else {
		_, _ = fmt.Fprintln(s.Err, "worker:", err)
	}
	return &cli.StatusError{Status: cli.StatusUsage}
}

type typesCmd struct {
	Show     typesShowCmd     `cmd:"" help:"Print the types, with all that follows from defaults."`
	Check    typesCheckCmd    `cmd:"" help:"Compare two files, change by change."`
	Schema   typesSchemaCmd   `cmd:"" help:"Print the JSON Schema of the commands."`
	AsyncAPI typesAsyncAPICmd `cmd:"" name:"asyncapi" help:"Print the AsyncAPI document of the queue, in YAML."`
	OpenAPI  typesOpenAPICmd  `cmd:"" name:"openapi" help:"Print the OpenAPI document of the query API."`
}

type typesShowCmd struct{ schema.File }

// Help is what `worker types show --help` says below the flags' list.
func (*typesShowCmd) Help() string {
	return "The output is a file of types itself. The fingerprint goes to standard error. It is equal for files that mean the same."
}

// Run prints the types.
func (c *typesShowCmd) Run(s *cli.Streams) error {
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(s.Err, "worker: the fingerprint is", types.Fingerprint)
	return writeDocument(s.Out, types.YAML())
}

type typesSchemaCmd struct{ schema.File }

// Run prints the JSON Schema.
func (c *typesSchemaCmd) Run(s *cli.Streams) error {
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	return writeDocument(s.Out, types.JSONSchema())
}

type typesAsyncAPICmd struct{ schema.File }

// Help is what `worker types asyncapi --help` says below the flags' list.
func (*typesAsyncAPICmd) Help() string {
	return "The document refers to the JSON Schema as ./command.schema.json, which `worker types schema` prints."
}

// Run prints the AsyncAPI document.
func (c *typesAsyncAPICmd) Run(s *cli.Streams) error {
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	return writeDocument(s.Out, types.AsyncAPI())
}

type typesOpenAPICmd struct {
	schema.File
	JSON bool `name:"json" env:"-" help:"Print JSON (default: YAML)."`
}

// Run prints the OpenAPI document.
func (c *typesOpenAPICmd) Run(s *cli.Streams) error {
	types, err := readTypes(c.File, s)
	if err != nil {
		return err
	}
	asJSON, asYAML, err := query.OpenAPI(types)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeDocument(s.Out, asJSON)
	}
	return writeDocument(s.Out, asYAML)
}

func writeDocument(w io.Writer, document []byte) error {
	if _, err := w.Write(document); err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}

type typesCheckCmd struct {
	cli.Output
	Old string `arg:"" help:"File of the types that hold now. For the built-in ones: worker types show > FILE."`
	New string `arg:"" help:"File of the types that are to hold."`
}

// Help is what `worker types check --help` says below the flags' list.
func (*typesCheckCmd) Help() string {
	return "A change is compatible if commands and items of the old types stay valid and read the same. The exit status is 0 if all changes " +
		"are compatible, 1 if one is not, and 2 if a file can't be read. Upgrade workers before producers: a worker dead-letters " +
		"commands that only newer types know."
}

// change is the JSON of a schema.Change.
type change struct {
	Name       string `json:"name"`
	Change     string `json:"change"`
	Compatible bool   `json:"compatible"`
	Why        string `json:"why"`
}

// Run compares the files.
func (c *typesCheckCmd) Run(s *cli.Streams) error {
	// Both are read before an error ends the command, so that all that is wrong is said at once.
	old, oldErr := schema.ReadFile(c.Old)
	now, newErr := schema.ReadFile(c.New)
	if err := errors.Join(typesError(oldErr, s), typesError(newErr, s)); err != nil {
		return err
	}
	changes := schema.Compare(old, now)
	compatible := schema.Compatible(changes)
	if err := c.write(s.Out, changes, compatible); err != nil {
		return err
	}
	if !compatible {
		return &cli.StatusError{Status: cli.StatusFailed} // the report says why
	}
	return nil
}

func (c *typesCheckCmd) write(w io.Writer, changes []schema.Change, compatible bool) error {
	if c.JSON() {
		list := make([]change, 0, len(changes))
		for _, ch := range changes {
			list = append(list, change{ch.Name, ch.What, ch.Compatible, ch.Why})
		}
		return cli.WriteJSON(w, map[string]any{"compatible": compatible, "changes": list})
	}
	if len(changes) == 0 {
		return writeDocument(w, []byte("no changes: both files mean the same\n"))
	}
	for _, ch := range changes {
		if _, err := fmt.Fprintln(w, ch); err != nil {
			return fmt.Errorf("write changes: %w", err)
		}
	}
	return nil
}
