package node

import (
	"errors"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
	httpapi "vaultmesh.org/vaultmesh/api/http"
)

// What fails for a moment is no alarm, what fails for long is, and what refuses this log is at once.
func TestFailingStorage(t *testing.T) {
	now := time.Now()
	n := &Node{now: func() time.Time { return now }}
	for _, tc := range []struct {
		since time.Duration
		err   error
		want  string
	}{
		{0, nil, ""},
		{time.Minute, errors.New("no space left"), ""},
		{failingFor + time.Second, errors.New("no space left"), httpapi.AlarmArchive},
		{0, vaultmesh.Errorf(vaultmesh.Corrupt, "archive", "", "another log"), httpapi.AlarmArchiveRefused},
	} {
		out := n.failing(nil, "the archive", httpapi.AlarmArchive, httpapi.AlarmArchiveRefused, func() (time.Time, error) { return now.Add(-tc.since), tc.err })
		code := ""
		if len(out) > 0 {
			code = out[0].Code
		}
		if code != tc.want || len(out) > 0 && (out[0].Detail == "" || out[0].Fix == "") {
			t.Errorf("%v for %s: %+v, want %q", tc.err, tc.since, out, tc.want)
		}
	}
}
