package receipt

import (
	"crypto/x509"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

func TestVerifyTimestampCertificates(t *testing.T) {
	stamping, client := x509.ExtKeyUsageTimeStamping, x509.ExtKeyUsageClientAuth
	data := []byte("checkpoint")
	for name, c := range map[string]struct {
		usages   []x509.ExtKeyUsage
		critical bool
		at       time.Time
		ok       bool
	}{
		"sound":                   {[]x509.ExtKeyUsage{stamping}, true, t0, true},
		"usage not critical":      {[]x509.ExtKeyUsage{stamping}, false, t0, false},
		"another usage beside it": {[]x509.ExtKeyUsage{stamping, client}, true, t0, false},
		"another usage":           {[]x509.ExtKeyUsage{client}, true, t0, false},
		"before its validity":     {[]x509.ExtKeyUsage{stamping}, true, t0.AddDate(-1, 0, 0), false},
		"after its validity":      {[]x509.ExtKeyUsage{stamping}, true, t0.AddDate(101, 0, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newTestTSA(t, c.usages, c.critical)
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(a.rootPEM))
			_, err := VerifyTimestamp(a.stamp(t, data, c.at), vaultmesh.Sum(data), roots)
			if (err == nil) != c.ok {
				t.Errorf("verified: %v", err)
			}
		})
	}
}

func FuzzVerifyTimestamp(f *testing.F) {
	a := newTestTSA(&testing.T{}, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}, true)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(a.rootPEM))
	f.Add(a.stamp(&testing.T{}, []byte("x"), t0))
	f.Add([]byte{0x30, 0x80, 0x24, 0x80})
	other := vaultmesh.Sum([]byte("y"))
	f.Fuzz(func(t *testing.T, response []byte) {
		if _, err := VerifyTimestamp(response, other, roots); err == nil {
			t.Error("a response over another digest verifies")
		}
	})
}
