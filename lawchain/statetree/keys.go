package statetree

import (
	"bytes"
	"encoding/binary"

	"vaultmesh.org/vaultmesh"
)

// Keys of the state tree in the journal. Numbers are big-endian; versions have eight bytes.
//
//	s/m                          the newest root: see meta
//	s/r/<receipt: 8>             a root that can be proved against, by the log index of its receipt: see meta
//	s/n/<version><depth: 1><nibbles>   page, see page.encode; the nibbles of its place, two to a byte
//	s/d/<version><path: 32>      document that came under the path with this version
//	s/o/<version><chunk: 4>      what the version replaced: see replacedPage and replacedDocument
//	s/b                          how many bytes s/n, s/d and s/o have in all, keys and values (8)
//	s/v/<twin>                   version of the twin in the tree (8), version of the tree that brought it (8)
var (
	keyMeta        = []byte("s/m")
	keyBytes       = []byte("s/b")
	rootPrefix     = []byte("s/r/")
	pagePrefix     = []byte("s/n/")
	documentPrefix = []byte("s/d/")
	replacedPrefix = []byte("s/o/")
	twinPrefix     = []byte("s/v/")
)

// lastChunk numbers the list of replaced records that is written with the root itself.
const lastChunk = 1<<32 - 1

func keyRoot(receipt uint64) []byte { return versioned(rootPrefix, receipt) }

func keyPage(version uint64, p place) []byte { return p.append(versioned(pagePrefix, version)) }

func keyDocument(version uint64, path *vaultmesh.Digest) []byte {
	return append(versioned(documentPrefix, version), path[:]...)
}

func keyReplaced(version uint64, chunk uint32) []byte {
	return binary.BigEndian.AppendUint32(versioned(replacedPrefix, version), chunk)
}

func keyTwin(id vaultmesh.TwinID) []byte { return append(bytes.Clone(twinPrefix), id...) }

func versioned(prefix []byte, version uint64) []byte {
	b := append(make([]byte, 0, len(prefix)+8+33), prefix...)
	return binary.BigEndian.AppendUint64(b, version)
}

// after is the first key behind all that begin with prefix, whose last byte is a slash.
func after(prefix []byte) []byte {
	k := bytes.Clone(prefix)
	k[len(k)-1]++
	return k
}

// place is where a page is: the first depth nibbles of path.
type place struct {
	depth int
	path  vaultmesh.Digest
}

// append appends the depth and the nibbles, the last half byte zero where the depth is odd.
func (p place) append(b []byte) []byte {
	b = append(append(b, byte(p.depth)), p.path[:p.depth/2]...)
	if p.depth%2 == 1 {
		b = append(b, p.path[p.depth/2]&0xf0)
	}
	return b
}

// nibble returns four bits of a path.
func nibble(path *vaultmesh.Digest, n int) int {
	if n%2 == 0 {
		return int(path[n/2] >> 4)
	}
	return int(path[n/2] & 15)
}
