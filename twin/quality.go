package twin

import (
	"fmt"

	"vaultmesh.org/vaultmesh"
)

var qualityNames = [...]string{Good: "good", Questionable: "questionable", Invalid: "invalid"}

func (q Quality) String() string {
	if int(q) < len(qualityNames) {
		return qualityNames[q]
	}
	return fmt.Sprintf("quality(%d)", uint8(q))
}

// MarshalText implements [encoding.TextMarshaler]: "good", "questionable" or "invalid".
func (q Quality) MarshalText() ([]byte, error) {
	if int(q) >= len(qualityNames) {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "twin.quality", q.String(), "not a quality")
	}
	return []byte(qualityNames[q]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (q *Quality) UnmarshalText(b []byte) error {
	for i, name := range qualityNames {
		if string(b) == name {
			*q = Quality(i)
			return nil
		}
	}
	return vaultmesh.Errorf(vaultmesh.Invalid, "twin.quality", fmt.Sprintf("%.32q", b), "not a quality").WithFix(`want "good", "questionable" or "invalid"`)
}
