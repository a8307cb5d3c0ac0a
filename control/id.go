package control

import (
	"encoding/base32"
	"encoding/binary"
	"io"
	"time"

	"vaultmesh.org/vaultmesh"
)

// crockford is Crockford's base 32, whose order is that of the bytes.
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID returns "c-" and 26 characters: 48 bits of milliseconds and 80 random bits, so that identifiers sort by time.
func (s *Service) newID(now time.Time) (vaultmesh.CommandID, error) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16)
	s.idMu.Lock()
	_, err := io.ReadFull(s.o.Rand, b[6:])
	s.idMu.Unlock()
	if err != nil {
		return "", vaultmesh.Errorf(vaultmesh.Internal, "command.propose", "", "no randomness").Because(err)
	}
	return vaultmesh.CommandID("c-" + crockford.EncodeToString(b[:])), nil
}
