package bucket_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh/lawchain/bucket"
	"vaultmesh.org/vaultmesh/test/logs"
)

// Users, passwords and parameters of an address show in no error.
func TestErrorsHoldNoSecretOfTheAddress(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/log/denied":
			w.WriteHeader(http.StatusForbidden)
		case "/log/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/log/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("x"))
		case "/log/large":
			_, _ = w.Write([]byte("0123456789"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	clean := func(what string, err error) {
		t.Helper()
		if err == nil || strings.Contains(err.Error(), "hidden-user") || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "QUERYKEY") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, address := range []string{strings.Replace(server.URL, "://", "://hidden-user:hunter2@", 1) + "/log", "http://hidden-user:hunter2@127.0.0.1:1/log"} {
		b := logs.Bucket(t, address)
		for _, name := range []string{"denied", "busy", "cut", "large", "absent"} {
			_, err := b.Get(t.Context(), name, 5)
			clean(name, err)
		}
		clean("a write", b.Replace(t.Context(), "x", nil))
	}
	endpoint := "region=eu-central-1&use_path_style=true&endpoint=http://hidden-user:hunter2@127.0.0.1:1/QUERYKEY"
	_, err := logs.Bucket(t, "s3://name/prefix?"+endpoint).Get(t.Context(), "x", 10)
	clean("an endpoint that is not there", err)
	for _, address := range []string{"s3://name/prefix?nonsense=1&" + endpoint, "https://hidden-user:hunter2@host/log?key=QUERYKEY", "gs://name?anonymous=true&nonsense=1&x=QUERYKEY", "ftp://hidden-user:hunter2@h", "s3://hidden-user:hunter2@[::1"} {
		_, err := bucket.Open(t.Context(), address)
		clean(address, err)
	}
}
