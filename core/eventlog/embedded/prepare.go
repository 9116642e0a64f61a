package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// prepare makes the broker's files fit to be opened after whatever happened to
// the process before.
func prepare(data string, logger *slog.Logger) error {
	if err := os.MkdirAll(filepath.Join(data, "partitions"), 0o700); err != nil {
		return fmt.Errorf("embedded log: %w", err)
	}
	// What the broker remembers of the producers and members of an earlier
	// process: members would keep their partitions until their sessions time
	// out, and the producers' sequences may date from before a crash.
	for _, name := range []string{"session_state.json", "seq_windows.json", "pids.log"} {
		if err := os.Remove(filepath.Join(data, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("embedded log: %w", err)
		}
	}
	return repairEntries(filepath.Join(data, "groups.log"), logger)
}

// repairEntries cuts an incomplete entry off the end of a file of framed
// entries. The broker skips it when reading but appends after it, and then would
// not find what follows: commits made after the next start would be forgotten by
// the one after that.
func repairEntries(path string, logger *slog.Logger) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("embedded log: %w", err)
	}
	valid := validEntries(raw)
	if valid == len(raw) {
		return nil
	}
	logger.Warn("the last entries of a file were incomplete after a crash; they were removed", "path", path, "bytes", len(raw)-valid)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("embedded log: %w", err)
	}
	err = errors.Join(f.Truncate(int64(valid)), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("embedded log: repair %s: %w", path, err)
	}
	return nil
}

// validEntries returns how many bytes from the start are whole entries: a
// length and a CRC-32C, little-endian, four bytes each, then that many bytes,
// the first two of which are the format's version.
func validEntries(raw []byte) int {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	at := 0
	for {
		rest := raw[at:]
		if len(rest) < 10 {
			return at
		}
		size := int64(binary.LittleEndian.Uint32(rest))
		if size < 2 || 8+size > int64(len(rest)) {
			return at
		}
		if crc32.Checksum(rest[8:8+size], castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
			return at
		}
		at += 8 + int(size)
	}
}
