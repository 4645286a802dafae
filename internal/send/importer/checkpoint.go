package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"tributary/internal/base/files"
	"tributary/internal/send/ids"
)

// checkpointFormat is changed when an older program could not go on from a newer one's checkpoint.
const checkpointFormat = 2

// checkpoint says how far an import is: SQS has accepted every row before Offset, or it is in the rejected file.
type checkpoint struct {
	Format int `json:"format"`
	// Offset is in bytes of the file, decompressed and without a byte order mark; Line is the line there.
	Offset int64 `json:"offset"`
	Line   int64 `json:"line"`
	// Fingerprint is the XXH64 of all before Offset, so that another file is not taken for this one.
	Fingerprint string `json:"fingerprint"`
	// Settings are a hash of the flags that decide a row's commands, and of the queue.
	Settings string `json:"settings"`
	// Scope is unique to this import. A FIFO queue recognises by it the messages that this import has sent.
	Scope string `json:"scope"`
	// Done says that the whole file is done, and that the import went on with another.
	Done bool `json:"done,omitempty"`
	// InArray says that the row before Offset is an element of a JSON array.
	InArray bool `json:"in_array,omitempty"`
	// Counts cover the rows before Offset.
	Counts
	RejectedBytes int64         `json:"rejected_bytes"`
	IDs           *ids.Sequence `json:"ids,omitempty"`
}

// CheckpointPath is where a file's checkpoint is.
func CheckpointPath(file string) string { return file + ".checkpoint" }

// readCheckpoint returns nil if there is no checkpoint.
func readCheckpoint(path string) (*checkpoint, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	var c checkpoint
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, &FileError{path, "is no checkpoint (--no-resume begins anew)", err}
	}
	if c.Format != checkpointFormat {
		return nil, &FileError{path, fmt.Sprintf("was written by another version (format %d, not %d): go on with that one, or begin anew with --no-resume", c.Format, checkpointFormat), nil}
	}
	return &c, nil
}

// write replaces the checkpoint in one step.
func (c *checkpoint) write(path string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := files.Replace(path, append(text, '\n')); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}
