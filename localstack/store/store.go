// Package store keeps what the local stack's servers hold over a restart, kill -9 included.
//
// It is a log in one bbolt file. A change is noted in memory, in the order in which the servers make changes. One
// goroutine writes all that was noted in one transaction, a batch, and an answer waits until its batch is written. So a
// call costs a part of a transaction, and what an answer tells of is in the file. Each start reads the log and writes it
// anew, with nothing in it that was replaced since.
//
// Written means handed to the operating system: it outlives the process, but not a power cut. The file is synced when
// it is begun and when the store is closed. bbolt protects its two meta pages by checksums, and each batch has a number
// and a checksum of its own, so that a damaged or shortened file is found out when it is read.
package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The names in the directory.
const (
	fileName = "localstack.db"
	lockName = "lock"
)

// maxLockWait is how long bbolt waits for the file: nobody has it, as the directory has a lock of its own.
const maxLockWait = time.Second

// maxSpareBytes is the largest buffer that is kept for the next batch.
const maxSpareBytes = 16 << 20

// DamagedError says that the file is not what the store wrote.
type DamagedError struct {
	File string
	Why  string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %s; move it away to begin with nothing", e.File, e.Why)
}

var batches = []byte("batches")

// Store is the log. A nil *Store keeps nothing: Set and Drop do nothing, and Wait doesn't wait.
type Store struct {
	file    string
	lock    *os.File // held as long as the store is open
	db      *bolt.DB
	working sync.WaitGroup
	wake    chan struct{} // one token: there is something to write

	mu      sync.Mutex // guards what follows
	pending []byte     // changes that were noted and not yet written
	noted   uint64     // the number of the batch that pending will be
	written uint64     // the number of the last batch in the file
	err     error      // that ended writing
	closed  bool
	done    *sync.Cond // written or err changed
}

// Open opens the store in a directory, which it makes, and which nobody else may have open. Load and Begin are next.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open data directory %s (does another localstack use it?): %w", dir, err)
	}
	s := &Store{file: filepath.Join(dir, fileName), lock: lock, wake: make(chan struct{}, 1)}
	s.done = sync.NewCond(&s.mu)
	return s, nil
}

// guard runs do, and makes an error of what bbolt does where its file is not one: it panics, or reads behind the end
// of what it mapped.
func (s *Store) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &DamagedError{s.file, fmt.Sprint(r)}
		}
	}()
	return do()
}

// check reads the two meta pages of a file by itself: bbolt takes the older one where the newer is damaged, and
// doesn't compare the file's length with what they say.
func check(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open data file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open data file: %w", err)
	}
	// A page's header has 16 bytes. A meta page goes on with magic, version, page size and flags of four bytes each, and
	// then with root, its sequence, freelist, high water mark, transaction and checksum of eight each.
	const header, meta = 16, 64
	page := make([]byte, header+meta)
	size, used := int64(0), uint64(0)
	for i := range 2 {
		if _, err := f.ReadAt(page, int64(i)*size); err != nil {
			return &DamagedError{file, fmt.Sprintf("meta page %d can't be read: %v", i, err)}
		}
		m := page[header:]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:meta-8]) // never fails
		if binary.NativeEndian.Uint32(m) != 0xED0CDAED || sum.Sum64() != binary.NativeEndian.Uint64(m[meta-8:]) {
			return &DamagedError{file, fmt.Sprintf("meta page %d has a wrong checksum", i)}
		}
		size = int64(binary.NativeEndian.Uint32(m[8:]))
		used = max(used, binary.NativeEndian.Uint64(m[40:]))
	}
	if want := int64(used) * size; info.Size() < want { //nolint:gosec // a file's length
		return &DamagedError{file, fmt.Sprintf("it has %d bytes, and had at least %d", info.Size(), want)}
	}
	return nil
}

// Load gives every change of the log in the order in which they were noted; an empty value deletes the key, and an
// empty key drops all of the kind. The error is a *DamagedError where the file is not what was written. The store is
// closed after an error.
func (s *Store) Load(apply func(kind, key, value string) error) error {
	err := check(s.file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.guard(func() error { return s.read(apply) })
	}
	if err != nil {
		return errors.Join(err, s.lock.Close())
	}
	return nil
}

// read reads the whole log. Nothing is written into the file meanwhile, or later.
func (s *Store) read(apply func(kind, key, value string) error) error {
	db, err := bolt.Open(s.file, 0o600, &bolt.Options{ReadOnly: true, Timeout: maxLockWait})
	if err != nil {
		return fmt.Errorf("open %s: %w", s.file, err)
	}
	defer func() { _ = db.Close() }()
	return db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(batches)
		if b == nil {
			return &DamagedError{s.file, "it has no batches"}
		}
		last := uint64(0)
		err := b.ForEach(func(k, v []byte) error {
			if len(k) != 8 || len(v) < 4 {
				return &DamagedError{s.file, "a batch has no number or no checksum"}
			}
			number := binary.BigEndian.Uint64(k)
			if number != last+1 {
				return &DamagedError{s.file, fmt.Sprintf("batch %d follows on batch %d", number, last)}
			}
			last = number
			if checksum(k, v[4:]) != binary.BigEndian.Uint32(v) {
				return &DamagedError{s.file, fmt.Sprintf("batch %d has a wrong checksum", number)}
			}
			return s.each(bytes.Clone(v[4:]), apply)
		})
		if err == nil && last == 0 {
			err = &DamagedError{s.file, "it has no batches"}
		}
		return err
	})
}

// each reads a batch.
func (s *Store) each(b []byte, apply func(kind, key, value string) error) error {
	next := func() string {
		n, width := binary.Uvarint(b)
		if width <= 0 || n > uint64(len(b)-width) {
			panic("a batch ends early")
		}
		out := string(b[width : width+int(n)]) //nolint:gosec // compared above
		b = b[width+int(n):]                   //nolint:gosec // compared above
		return out
	}
	for len(b) > 0 {
		kind, key, value := next(), next(), next()
		if kind == kindFormat {
			continue
		}
		if err := apply(kind, key, value); err != nil {
			return fmt.Errorf("restore from %s: %w", s.file, err)
		}
	}
	return nil
}

func checksum(number, changes []byte) uint32 {
	return crc32.Update(crc32.Checksum(number, castagnoli), castagnoli, changes)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Set notes that a key of some kind has this value from now on, or none where it is empty. Who calls it holds the lock
// under which the change is made, so that changes are noted in their order.
func (s *Store) Set(kind, key, value string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.closed {
		return // every answer is an error by now
	}
	for _, part := range [...]string{kind, key, value} {
		s.pending = append(binary.AppendUvarint(s.pending, uint64(len(part))), part...)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Drop notes that no key of some kind has a value any longer.
func (s *Store) Drop(kind string) { s.Set(kind, "", "") }

// Wait returns as soon as everything that was noted before is written, and the error that kept it from that.
func (s *Store) Wait() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	until := s.noted
	if len(s.pending) == 0 {
		until-- // what is under way, or nothing
	}
	for s.written < until && s.err == nil {
		s.done.Wait()
	}
	return s.err
}

// write writes batches until the store is closed.
func (s *Store) write() {
	var changes []byte
	for range s.wake {
		s.mu.Lock()
		changes, s.pending = s.pending, changes[:0]
		number := s.noted
		if len(changes) > 0 {
			s.noted++
		}
		s.mu.Unlock()
		if len(changes) == 0 {
			continue
		}
		err := s.append(number, changes)
		s.mu.Lock()
		if err != nil {
			s.err = fmt.Errorf("write %s: %w", s.file, err)
		} else {
			s.written = number
		}
		s.done.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
		if cap(changes) > maxSpareBytes {
			changes = nil
		}
	}
}

func (s *Store) append(number uint64, changes []byte) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(batches)
		if err != nil {
			return err
		}
		b.FillPercent = 1 // keys only grow
		k := binary.BigEndian.AppendUint64(nil, number)
		v := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(changes)), checksum(k, changes))
		return b.Put(k, append(v, changes...))
	})
}

// Begin writes the log anew, with what dump gives, and begins to write what is noted from then on. Until all of it is
// written, the file that Load read stays where it is. The store is closed after an error.
func (s *Store) Begin(dump func(set func(kind, key, value string))) error {
	err := s.begin(dump)
	if err != nil {
		return errors.Join(fmt.Errorf("begin %s: %w", s.file, err), s.Close())
	}
	return nil
}

func (s *Store) begin(dump func(set func(kind, key, value string))) error {
	fresh := s.file + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) { // of a process that was killed
		return err
	}
	db, err := bolt.Open(fresh, 0o600, &bolt.Options{Timeout: maxLockWait, NoFreelistSync: true, NoGrowSync: true, NoSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	s.db, s.noted = db, 1
	s.working.Go(s.write)
	size := 0
	set := func(kind, key, value string) {
		s.Set(kind, key, value)
		if size += len(value); size > maxDumpBytes {
			size = 0
			_ = s.Wait() // the last one gives the error too
		}
	}
	set(kindFormat, "version", "1") // so that no log is empty
	dump(set)
	return errors.Join(s.Wait(), db.Sync(), os.Rename(fresh, s.file))
}

// maxDumpBytes is about the size of a batch that Begin writes.
const maxDumpBytes = 1 << 20

// kindFormat is the store's own kind, which Load does not give.
const kindFormat = "format"

// Close writes what was noted, syncs the file and closes it. It may be called twice.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	var failed error
	if s.db != nil {
		failed = s.Wait()
		close(s.wake)
		s.working.Wait()
		if failed == nil {
			failed = s.db.Sync()
		}
		failed = errors.Join(failed, s.db.Close())
	}
	return errors.Join(failed, s.lock.Close())
}
