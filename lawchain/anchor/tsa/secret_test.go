package tsa

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
)

// What is behind the host of an authority's address may be its customer's key: errors are logged and shown.
func TestErrorsHoldNoSecretOfTheURL(t *testing.T) {
	mode := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", replyType)
		switch mode {
		case "cut":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("x"))
		case "busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "refused":
			w.WriteHeader(http.StatusForbidden)
		case "type":
			w.Header().Set("Content-Type", "text/html")
		case "large":
			_, _ = w.Write(make([]byte, maxReply+1))
		case "elsewhere":
			http.Redirect(w, r, "ftp"+strings.TrimPrefix(r.URL.String(), "http"), http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for _, at := range []string{"cut", "busy", "refused", "type", "large", "elsewhere", "nonsense", "absent", "no address"} {
		mode = at
		c := &Client{URL: "http://hidden-user:hunter2@" + host + "/PATHKEY/tsa?apikey=QUERYKEY", Roots: x509.NewCertPool()}
		switch at {
		case "absent":
			c.URL = strings.Replace(c.URL, host, "127.0.0.1:1", 1)
		case "no address":
			c.URL = strings.Replace(c.URL, host, "[::1", 1)
		}
		_, _, err := c.Request(t.Context(), vaultmesh.Sum(nil))
		if err == nil {
			t.Errorf("%s: no error", at)
			continue
		}
		for _, secret := range []string{"hidden-user", "hunter2", "PATHKEY", "QUERYKEY"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", at, err)
			}
		}
	}
}
