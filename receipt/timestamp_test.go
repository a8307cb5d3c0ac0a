package receipt

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"

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

// What a pinned authority signed is a time-stamp only where it signed it as one, and named the certificate that it is judged
// by: whoever can have it sign other things, or has another certificate of its key, has no time-stamp.
func TestSignedByTheAuthorityAsSomethingElse(t *testing.T) {
	a, data := sharedTSA(t), []byte("checkpoint")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(a.rootPEM))
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	token, err := timestamp.ParseResponse(a.stamp(t, data, t0))
	ok(err)
	p7, err := pkcs7.Parse(token.RawToken)
	ok(err)
	// remade signs the same TSTInfo again; its signer names the certificate with this hash.
	remade := func(hash []byte, sign func(*pkcs7.SignedData, pkcs7.SignerInfoConfig)) []byte {
		sd, err := pkcs7.NewSignedData(p7.Content)
		ok(err)
		sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
		sd.SetContentType(oidTSTInfo)
		type id struct{ Hash []byte }
		var c pkcs7.SignerInfoConfig
		if hash != nil {
			c.ExtraSignedAttributes = []pkcs7.Attribute{{Type: oidSigningCertV2, Value: struct{ Certs []id }{[]id{{hash}}}}}
		}
		sign(sd, c)
		raw, err := sd.Finish()
		ok(err)
		response, err := asn1.Marshal(struct {
			Status struct{ Status int }
			Token  asn1.RawValue
		}{Token: asn1.RawValue{FullBytes: raw}})
		ok(err)
		return response
	}
	plain := func(sd *pkcs7.SignedData, c pkcs7.SignerInfoConfig) { ok(sd.AddSigner(a.cert, a.key, c)) }
	own, other := sha256.Sum256(a.cert.Raw), sha256.Sum256([]byte("another certificate"))
	critical := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: token.HashedMessage, Time: t0, Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, AddTSACertificate: true,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 5}, Critical: true, Value: []byte{5, 0}}}}
	withCritical, err := critical.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256)
	ok(err)
	for name, c := range map[string]struct {
		response []byte
		says     string
	}{
		"as a time-stamp":            {remade(own[:], plain), ""},
		"no certificate named":       {remade(nil, plain), "does not name its signing certificate"},
		"another certificate named":  {remade(other[:], plain), "names another signing certificate"},
		"a critical extension in it": {withCritical, "unknown critical extension 1.2.3.5"},
		"as data": {remade(own[:], func(sd *pkcs7.SignedData, c pkcs7.SignerInfoConfig) {
			sd.SetContentType(pkcs7.OIDData)
			plain(sd, c)
		}), "not that of a time-stamp"},
		"without signed attributes": {remade(own[:], func(sd *pkcs7.SignedData, c pkcs7.SignerInfoConfig) {
			ok(sd.SignWithoutAttr(a.cert, a.key, c))
		}), "not that of a time-stamp"},
		"without a certificate": {remade(own[:], func(sd *pkcs7.SignedData, c pkcs7.SignerInfoConfig) {
			c.SkipCertificates = true
			plain(sd, c)
		}), "exactly one signer"},
		"by two": {remade(own[:], func(sd *pkcs7.SignedData, c pkcs7.SignerInfoConfig) {
			plain(sd, c)
			plain(sd, c)
		}), "exactly one signer"},
	} {
		_, err := VerifyTimestamp(c.response, vaultmesh.Sum(data), roots)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
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
