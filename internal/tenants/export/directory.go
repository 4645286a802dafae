package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tributary/internal/base/files"
	"tributary/internal/schema"
)

// Names of the files that are not of items.
const (
	manifestName   = "manifest.json"
	checkpointName = "checkpoint.json"
)

// Manifest describes a finished export. It is the last file that is written.
type Manifest struct {
	Tenant     string    `json:"tenant"`
	Table      string    `json:"table"`
	Types      string    `json:"types"` // the fingerprint of the declared types
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	Consistent bool      `json:"consistent"` // all items are of one time
	Why        string    `json:"why"`
	Items      int       `json:"items"` // those that stand in two files count once
	// Inexact items stand in the file of their type, and whole in the one of others.
	Inexact int    `json:"inexact"`
	Files   []File `json:"files"`
}

// File is one file of items.
type File struct {
	Name   string `json:"name"`
	Holds  string `json:"holds"` // the name of a type, tombstones or other
	Lines  int    `json:"lines"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// DirectoryError says why a directory can't be used for an export.
type DirectoryError struct {
	Directory string
	Problem   string
}

func (e *DirectoryError) Error() string { return e.Directory + " " + e.Problem }

// point is the checkpoint: how far an export is. What the files have beyond it is written again.
type point struct {
	Tenant    string    `json:"tenant"`
	Table     string    `json:"table"`
	Types     string    `json:"types"`
	Began     time.Time `json:"began"`
	Suspended time.Time `json:"suspended,omitzero"` // when, if it was at the beginning
	After     string    `json:"after"`              // the sort key after which to go on
	Inexact   int       `json:"inexact"`
	Files     []mark    `json:"files"`
}

// mark is how far one file is.
type mark struct {
	Name  string `json:"name"`
	Lines int    `json:"lines"`
	Bytes int64  `json:"bytes"`
	Hash  []byte `json:"hash"` // the state of SHA-256
}

// directory is where an export is written.
type directory struct {
	path              string
	point             point
	fresh             bool      // it begins here
	finished          *Manifest // it had ended, except for removing the checkpoint
	byType            []*file   // by the types' positions
	tombstones, other *file
}

func (d *directory) all() []*file { return append(slices.Clip(d.byType), d.tombstones, d.other) }

// layout gives the files their names: a type's is that of its path.
func layout(path string, declared *schema.Set) *directory {
	d := &directory{path: path}
	taken := map[string]bool{}
	for _, t := range declared.Types {
		taken[t.Plural] = true
		d.byType = append(d.byType, &file{name: t.Plural + ".ndjson", holds: t.Name})
	}
	own := func(name string) *file {
		if taken[name] {
			return &file{name: name + "-items.ndjson", holds: name}
		}
		return &file{name: name + ".ndjson", holds: name}
	}
	d.tombstones, d.other = own("tombstones"), own("other")
	return d
}

// open finds out whether an export begins in the directory or goes on there, and opens the files.
func (e *Exporter) open(tenant, path string) (*directory, error) {
	d := layout(path, e.Types)
	if err := os.MkdirAll(path, 0o700); err != nil { // tenants' data
		return nil, &DirectoryError{path, fmt.Sprintf("can't be made: %v", err)}
	}
	there, err := d.look()
	if err != nil {
		return nil, err
	}
	d.point = point{Tenant: tenant, Table: e.Table, Types: e.Types.Fingerprint, Began: time.Now().UTC()}
	switch {
	case there[manifestName] && !there[checkpointName]:
		return nil, &DirectoryError{path, "holds an export that has ended: name another directory"}
	case there[manifestName]: // it was killed between writing the one and removing the other
		err := d.conclude()
		if err == nil && (d.finished.Tenant != tenant || d.finished.Table != e.Table) {
			err = &DirectoryError{path, "holds an export of tenant " + d.finished.Tenant + " that has ended: name another directory"}
		}
		return d, err
	case !there[checkpointName] && len(there) > 0:
		return nil, &DirectoryError{path, "is not empty: name a new directory, or that of an export to go on with"}
	case !there[checkpointName]:
		d.fresh = true
		if err := d.write(checkpointName, &d.point); err != nil { // before any other file: it says whose they are
			return nil, err
		}
	default:
		if err := d.resume(); err != nil {
			return nil, err
		}
	}
	return d, d.openFiles()
}

// look returns which files are there. It removes those that a kill in the middle of a replacement has left.
func (d *directory) look() (map[string]bool, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, &DirectoryError{d.path, fmt.Sprintf("can't be read: %v", err)}
	}
	known := []string{manifestName, checkpointName}
	for _, f := range d.all() {
		known = append(known, f.name)
	}
	there := map[string]bool{}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case strings.HasPrefix(name, checkpointName+".") || strings.HasPrefix(name, manifestName+"."):
			if err := os.Remove(filepath.Join(d.path, name)); err != nil {
				return nil, fmt.Errorf("remove old file: %w", err)
			}
		case !slices.Contains(known, name):
			return nil, &DirectoryError{d.path, fmt.Sprintf("has %q, which is of no export of these types: name a new directory", name)}
		default:
			there[name] = true
		}
	}
	return there, nil
}

// maxCheckpoint bounds what is read of a checkpoint or manifest.
const maxCheckpoint = 16 << 20

func (d *directory) read(name string, to any) error {
	text, err := files.Read(filepath.Join(d.path, name), maxCheckpoint)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return &DirectoryError{d.path, fmt.Sprintf("has a %s that can't be read: %v", name, err)}
	}
	return nil
}

func (d *directory) write(name string, value any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return files.Replace(filepath.Join(d.path, name), text.Bytes())
}

// resume reads the checkpoint of an export that did not end.
func (d *directory) resume() error {
	var old point
	if err := d.read(checkpointName, &old); err != nil {
		return err
	}
	if old.Tenant != d.point.Tenant || old.Table != d.point.Table {
		return &DirectoryError{d.path, fmt.Sprintf("holds an export of tenant %s from table %s that has not ended: name another directory", old.Tenant, old.Table)}
	}
	if old.Types != d.point.Types {
		return &DirectoryError{d.path, "holds an export that began with other types: name another directory, or give the same --types"}
	}
	d.point = old
	d.fresh = len(old.Files) == 0 // it was killed before it wrote anything
	for _, m := range old.Files {
		i := slices.IndexFunc(d.all(), func(f *file) bool { return f.name == m.Name })
		if i < 0 {
			return &DirectoryError{d.path, fmt.Sprintf("has a checkpoint with the unknown file %q", m.Name)}
		}
		d.all()[i].mark = m
	}
	return nil
}

func (d *directory) openFiles() error {
	for _, f := range d.all() {
		if err := f.open(d.path); err != nil {
			d.close()
			return err
		}
	}
	return nil
}

func (d *directory) close() {
	for _, f := range d.all() {
		if f.disk != nil {
			_ = f.disk.Close() // what counts was synchronized
		}
	}
}

// total returns how much was written.
func (d *directory) total() (items int, bytes int64) {
	for _, f := range d.all() {
		items += f.mark.Lines
		bytes += f.mark.Bytes
	}
	return items - d.point.Inexact, bytes
}

// checkpoint makes durable what was written.
func (d *directory) checkpoint() error {
	d.point.Files = d.point.Files[:0]
	for _, f := range d.all() {
		if err := f.sync(); err != nil {
			return err
		}
		d.point.Files = append(d.point.Files, f.mark)
	}
	return d.write(checkpointName, &d.point)
}

// finish writes the manifest.
func (d *directory) finish(consistent bool) (*Manifest, error) {
	if err := d.checkpoint(); err != nil {
		return nil, err
	}
	items, _ := d.total()
	m := &Manifest{
		Tenant: d.point.Tenant, Table: d.point.Table, Types: d.point.Types, Began: d.point.Began, Ended: time.Now().UTC(),
		Consistent: consistent, Why: whyNot, Items: items, Inexact: d.point.Inexact,
	}
	if consistent {
		m.Why = whySuspended
	}
	for _, f := range d.all() {
		m.Files = append(m.Files, File{f.name, f.holds, f.mark.Lines, f.mark.Bytes, hex.EncodeToString(f.hash.Sum(nil))})
	}
	if err := d.write(manifestName, m); err != nil {
		return nil, err
	}
	return m, d.conclude()
}

// conclude removes the checkpoint of an export whose manifest is written.
func (d *directory) conclude() error {
	d.finished = &Manifest{}
	if err := d.read(manifestName, d.finished); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(d.path, checkpointName)); err != nil {
		return fmt.Errorf("remove checkpoint: %w", err)
	}
	return nil
}

// file is one file of items.
type file struct {
	name, holds string
	mark        mark // Hash is that of the last sync
	disk        *os.File
	hash        hash.Hash
	buffered    *bufio.Writer
}

// open opens the file where its mark is, and forgets what is behind it.
func (f *file) open(directory string) error {
	path := filepath.Join(directory, f.name)
	disk, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	f.disk, f.hash, f.mark.Name = disk, sha256.New(), f.name
	info, err := disk.Stat()
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	if info.Size() < f.mark.Bytes {
		return &DirectoryError{directory, fmt.Sprintf("has %s with %d bytes, of which the checkpoint knows %d: it was changed since, so name a new directory", f.name, info.Size(), f.mark.Bytes)}
	}
	if len(f.mark.Hash) > 0 {
		if err := f.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(f.mark.Hash); err != nil {
			return fmt.Errorf("restore SHA-256 of %s: %w", f.name, err)
		}
	}
	if err := disk.Truncate(f.mark.Bytes); err != nil {
		return fmt.Errorf("truncate file: %w", err)
	}
	if _, err := disk.Seek(f.mark.Bytes, io.SeekStart); err != nil {
		return fmt.Errorf("truncate file: %w", err)
	}
	f.buffered = bufio.NewWriterSize(io.MultiWriter(disk, f.hash), 64<<10)
	return nil
}

// writeLine writes a line. A write that fails fails the sync too.
func (f *file) writeLine(line []byte) error {
	_, err := f.buffered.Write(line)
	if err2 := f.buffered.WriteByte('\n'); err == nil {
		err = err2
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	f.mark.Lines++
	f.mark.Bytes += int64(len(line)) + 1
	return nil
}

// sync makes the file durable up to its mark.
func (f *file) sync() error {
	err := errors.Join(f.buffered.Flush(), f.disk.Sync())
	if err == nil {
		f.mark.Hash, err = f.hash.(encoding.BinaryMarshaler).MarshalBinary()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.name, err)
	}
	return nil
}
