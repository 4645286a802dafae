package importer

import "fmt"

// UsageError says that flags are wrong, or don't fit a file. Nothing was done.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// FileError reports a file that can't be read in its expected format.
type FileError struct {
	File    string
	Problem string
	Err     error // the cause, or nil
}

func (e *FileError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.File, e.Problem, e.Err)
	}
	return e.File + ": " + e.Problem
}

func (e *FileError) Unwrap() error { return e.Err }
