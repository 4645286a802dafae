package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Output is the flag of commands that a script may want to read.
type Output struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Output: text, or json for scripts (${default})."`
}

// JSON says that a script reads the output.
func (o *Output) JSON() bool { return o.Output == "json" }

// WriteJSON writes a value as indented JSON, with a newline.
func WriteJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// UsageOf turns an error that wraps an E into a usage error. E is an error about settings. Other errors, and nil, are returned
// unchanged.
func UsageOf[E error](err error) error {
	if wrong, ok := errors.AsType[E](err); ok {
		return &StatusError{Status: StatusUsage, Err: wrong}
	}
	return err
}
