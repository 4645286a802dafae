// Package store keeps what the local stack's servers hold over a restart, kill -9 included.
//
// It is a log in one bbolt file. A change is noted in memory, in the order in which the servers make changes. One
// goroutine writes all that was noted in one transaction, a batch, and an answer waits until its batch is written. So a
// call costs a part of a transaction, and what an answer tells of is in the file.
//
// Written means handed to the operating system: it outlives the process, but not a power cut. The file is synced when
// the store is closed. bbolt protects its own two meta pages by checksums, and each batch has a checksum and a number of
// its own, so that a damaged or shortened file is found out when it is opened.
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
	bolterrors "go.etcd.io/bbolt/errors"
)

// fileName is the log's name in its directory.
const fileName = "localstack.db"

// maxLockWait is how long Open waits for another process that has the file open.
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
	db      *bolt.DB
	loaded  int // changes that Load read
	working sync.WaitGroup

	mu      sync.Mutex // guards what follows
	pending []byte     // changes that were noted and not yet written
	noted   uint64     // the number of the batch that pending will be
	written uint64     // the number of the last batch in the file
	err     error      // that ended writing
	closed  bool
	wake    chan struct{} // one token: there is something to write
	done    *sync.Cond    // written or err changed
}

// Open opens the store in a directory, which it makes. Nobody else may have it open. Load has to be next.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	return open(filepath.Join(dir, fileName))
}

func open(file string) (*Store, error) {
	if err := check(file); err != nil {
		return nil, err
	}
	s := &Store{file: file, wake: make(chan struct{}, 1)}
	s.done = sync.NewCond(&s.mu)
	err := s.guard(func() (err error) {
		s.db, err = bolt.Open(file, 0o600, &bolt.Options{Timeout: maxLockWait, NoFreelistSync: true, NoGrowSync: true, NoSync: true, FreelistType: bolt.FreelistMapType})
		return err
	})
	if err != nil {
		return nil, err
	}
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
	if err = do(); errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("open %s: another process has it open", s.file)
	}
	if damaged := (*DamagedError)(nil); err != nil && !errors.As(err, &damaged) && !errors.Is(err, errApply) {
		return fmt.Errorf("open %s: %w", s.file, err)
	}
	return err
}

// check reads the two meta pages of a file by itself: bbolt takes the older one where the newer is damaged, and
// doesn't compare the file's length with what they say.
func check(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open data file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open data file: %w", err)
	}
	if info.Size() == 0 {
		return nil // killed before the first write
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

// errApply marks an error that came from Load's caller.
var errApply = errors.New("apply")

// Load gives every change in the order in which they were noted; an empty value deletes the key, and an empty key
// drops all of the kind. Then it starts writing.
func (s *Store) Load(apply func(kind, key, value string) error) error {
	if s == nil {
		return nil
	}
	first, last := uint64(0), uint64(0)
	err := s.guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			if tx.Bucket(batches) == nil {
				return nil
			}
			return tx.Bucket(batches).ForEach(func(k, v []byte) error {
				if len(k) != 8 || len(v) < 4 {
					return &DamagedError{s.file, "a batch has no number or no checksum"}
				}
				number := binary.BigEndian.Uint64(k)
				if first == 0 {
					first, last = number, number-1
				}
				if number != last+1 {
					return &DamagedError{s.file, fmt.Sprintf("batch %d follows on batch %d", number, last)}
				}
				last = number
				if checksum(k, v[4:]) != binary.BigEndian.Uint32(v) {
					return &DamagedError{s.file, fmt.Sprintf("batch %d has a wrong checksum", number)}
				}
				return s.each(bytes.Clone(v[4:]), apply)
			})
		})
	})
	if err == nil && first > 1 {
		err = &DamagedError{s.file, fmt.Sprintf("its first batch has number %d", first)}
	}
	if err != nil {
		_ = s.guard(s.db.Close)
		return err
	}
	s.start(last)
	return nil
}

// start begins writing behind the batch of that number.
func (s *Store) start(last uint64) {
	s.written, s.noted = last, last+1
	s.working.Go(s.write)
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
		s.loaded++
		if err := apply(next(), next(), next()); err != nil {
			return fmt.Errorf("%w what %s has: %w", errApply, s.file, err)
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

// Compact writes the log anew where it has far more changes than there are values: dump gives all of them. It is called
// after Load, before anything else is noted, and returns the store to go on with.
func (s *Store) Compact(values int, dump func(set func(kind, key, value string))) (*Store, error) {
	if s == nil || s.loaded < 2*values+minCompacted {
		return s, nil
	}
	fresh := s.file + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) { // of a process that was killed
		return nil, fmt.Errorf("compact %s: %w", s.file, err)
	}
	to, err := open(fresh)
	if err != nil {
		return nil, err
	}
	to.start(0)
	size := 0
	dump(func(kind, key, value string) {
		to.Set(kind, key, value)
		if size += len(value); size > compactBytes {
			size = 0
			_ = to.Wait() // Close gives the error too
		}
	})
	if err := errors.Join(to.Close(), s.Close()); err != nil {
		return nil, fmt.Errorf("compact %s: %w", s.file, err)
	}
	if err := os.Rename(fresh, s.file); err != nil {
		return nil, fmt.Errorf("compact %s: %w", s.file, err)
	}
	again, err := open(s.file)
	if err != nil {
		return nil, err
	}
	again.start(to.written)
	return again, nil
}

const (
	minCompacted = 1000    // changes that no log is written anew for
	compactBytes = 1 << 20 // of a batch that Compact writes
)

// Close writes what was noted, syncs the file and closes it.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	failed := s.Wait()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return failed
	}
	s.closed = true
	s.mu.Unlock()
	close(s.wake)
	s.working.Wait()
	if failed == nil {
		failed = s.db.Sync()
	}
	return errors.Join(failed, s.db.Close())
}
