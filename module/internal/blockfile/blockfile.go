// Package blockfile writes and reads entries in blocks, each of which is verified before it is used: what a disk has
// damaged is noticed, and the blocks before it are whole.
//
// A block is, with integers in big-endian order:
//
//	length of the payload (4) · its CRC-32C (4) · payload
//
// A payload begins with the block's number (4), counted from 0, and goes on with entries. The last block has none. One
// block at a time is in memory.
package blockfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	headSize   = 8
	numberSize = 4
	maxPayload = 64 << 10

	// Overhead is what a block takes besides its entries, in bytes.
	Overhead = headSize + numberSize

	// MaxEntry is the largest size of an entry, in bytes.
	MaxEntry = maxPayload - numberSize
)

// ErrDamaged means that the bytes are not those that were written, or that some are missing.
var ErrDamaged = errors.New("damaged or cut off")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Writer writes entries. Create it with NewWriter, and call Close at the end.
type Writer struct {
	w      io.Writer
	block  []byte
	number uint32
}

// NewWriter returns a writer to w, to which the caller may have written something else before.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, block: make([]byte, Overhead, headSize+maxPayload)}
}

// Write adds an entry. Entries are not told apart by their size: the reader must know where each ends.
func (w *Writer) Write(entry []byte) error {
	if len(entry) > MaxEntry {
		return fmt.Errorf("an entry has %d bytes: %d fit into a block", len(entry), MaxEntry)
	}
	if len(w.block)+len(entry) > cap(w.block) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.block = append(w.block, entry...)
	return nil
}

// Close writes the entries that were not written yet, and the end.
func (w *Writer) Close() error {
	if len(w.block) > Overhead {
		if err := w.flush(); err != nil {
			return err
		}
	}
	return w.flush()
}

// flush writes the block, and begins the next one.
func (w *Writer) flush() error {
	binary.BigEndian.PutUint32(w.block, uint32(len(w.block)-headSize))
	binary.BigEndian.PutUint32(w.block[headSize:], w.number)
	binary.BigEndian.PutUint32(w.block[4:], crc32.Checksum(w.block[headSize:], castagnoli))
	_, err := w.w.Write(w.block)
	w.block, w.number = w.block[:Overhead], w.number+1
	return err
}

// Reader reads what a Writer has written.
type Reader struct {
	r      io.Reader
	buffer []byte
	number uint32 // of the next block
}

// NewReader returns a reader from r, of which the caller has read what comes before the blocks.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, buffer: make([]byte, maxPayload)} }

// Next returns the entries of the next block, one after the other, or none at the end. They are valid until the next call.
// The error is ErrDamaged or that of the reader.
func (r *Reader) Next() ([]byte, error) {
	var head [headSize]byte
	if err := ReadFull(r.r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < numberSize || size > maxPayload {
		return nil, ErrDamaged
	}
	payload := r.buffer[:size]
	if err := ReadFull(r.r, payload); err != nil {
		return nil, err
	}
	if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(head[4:]) || binary.BigEndian.Uint32(payload) != r.number {
		return nil, ErrDamaged
	}
	r.number++
	return payload[numberSize:], nil
}

// ReadFull fills b from r. Where r ends before, the error is ErrDamaged.
func ReadFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrDamaged
	}
	return err
}
