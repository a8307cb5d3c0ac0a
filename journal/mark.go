package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"vaultmesh.org/vaultmesh"
)

// The mark is a file of 12 bytes: the number of the last acknowledged commit (big-endian) and its CRC-32C. It is
// written after the commit is durable and before anyone is told, without a sync of its own. It therefore never names
// a commit that was not durable, survives the death of the process, and after a power loss is at worst too old. So a
// journal that ends before its mark has lost something acknowledged: a write-ahead log cannot tell a damaged last
// record from a torn one by itself.
const markSize = 12

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openMark reads the mark; one that is absent, short or torn counts as zero, which is always safe.
func openMark(path string) (uint64, *os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, nil, vaultmesh.Errorf(vaultmesh.Unavailable, "journal.open", path, "cannot open").Because(err).WithFix("make the data folder writable for this user")
	}
	var b [markSize]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, f, nil
		}
		_ = f.Close()
		return 0, nil, vaultmesh.Errorf(vaultmesh.Unavailable, "journal.open", path, "cannot read").Because(err)
	}
	return decodeMark(b), f, nil
}

func decodeMark(b [markSize]byte) uint64 {
	if crc32.Checksum(b[:8], castagnoli) != binary.BigEndian.Uint32(b[8:]) {
		return 0
	}
	return binary.BigEndian.Uint64(b[:8])
}

// readMark reads the mark without making it.
func readMark(path string) (uint64, error) {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, vaultmesh.Errorf(vaultmesh.Unavailable, "journal.open", path, "cannot read").Because(err)
	}
	if len(raw) < markSize {
		return 0, nil
	}
	return decodeMark([markSize]byte(raw[:markSize])), nil
}

// writeMark records the last durable commit. Both lanes call it: the lock keeps an older number from coming last.
func (j *Journal) writeMark() error {
	j.markMu.Lock()
	defer j.markMu.Unlock()
	var b [markSize]byte
	binary.BigEndian.PutUint64(b[:8], j.durable.Load())
	binary.BigEndian.PutUint32(b[8:], crc32.Checksum(b[:8], castagnoli))
	_, err := j.mark.WriteAt(b[:], 0)
	return err
}
