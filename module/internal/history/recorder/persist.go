package recorder

import (
	"io"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// blockSize is the allocation unit of file systems. It matters because quiet sites make many small
// files.
const blockSize = 4096

// diskUsage returns how many bytes a file occupies.
func diskUsage(size int64) int64 { return max((size+blockSize-1)/blockSize, 1) * blockSize }

// persist writes the batches that should not wait in memory to disk, until a write fails.
func (s *spool) persist() {
	if s.dir == "" {
		return
	}
	s.persisting.Lock()
	defer s.persisting.Unlock()
	for {
		w, batch := s.oldestToPersist()
		if w == nil {
			return
		}
		size, err := s.save(w, batch)
		s.tally.setDiskError(err)
		if err != nil {
			return
		}
		s.markPersisted(w, size)
	}
}

// save writes the file of a batch, and returns how many bytes it occupies.
func (s *spool) save(w *pending, b *history.Batch) (size int64, err error) {
	err = s.files.replace(s.path(w.name()), func(f io.Writer) error {
		c := countingWriter{w: f}
		err := writeBatch(&c, b)
		size = diskUsage(c.n)
		return err
	})
	return size, err
}

// oldestToPersist returns the oldest batch that should be a file, or nil.
func (s *spool) oldestToPersist() (*pending, *history.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := !s.answering.Load() || s.rows > memoryRows/2
	for _, w := range s.list {
		if w.size == 0 && (all || !w.complete) {
			return w, w.batch
		}
	}
	return nil, nil
}

// markPersisted records that a batch is now on disk.
func (s *spool) markPersisted(w *pending, size int64) {
	s.mu.Lock()
	gone := w.removed
	j := w.journal
	if !gone {
		s.rows -= w.rows()
		s.bytes += size
		w.size, w.batch, w.journal = size, nil, nil
	}
	s.mu.Unlock()
	if gone { // sent meanwhile
		s.removeFile(w.name())
		return
	}
	s.release(j)
}

// countingWriter counts the bytes that are written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
