package bitcoin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vaultmesh.org/vaultmesh"
)

// What is behind the host of a node's address may be a key of its customer: errors are logged and shown.
func TestErrorsHoldNoSecretOfTheURL(t *testing.T) {
	mode := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch mode {
		case "cut":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("x"))
		case "refused":
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer server.Close()
	for _, at := range []string{"cut", "refused", "nonsense", "absent"} {
		mode = at
		address := server.URL + "/PATHKEY?apikey=QUERYKEY"
		if at == "absent" {
			address = "http://127.0.0.1:1/PATHKEY?apikey=QUERYKEY"
		}
		c, err := newRPC(&Options{URL: address, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		err = c.call(t.Context(), nil, 1000, "getblockcount")
		if err == nil || strings.Contains(err.Error(), "KEY") {
			t.Errorf("%s: %v", at, err)
		}
		c.close()
	}
	_, err := newRPC(&Options{URL: "http://hidden-user:hunter2@127.0.0.1:1/PATHKEY"})
	if vaultmesh.KindOf(err) != vaultmesh.Invalid || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "hidden-user") || strings.Contains(err.Error(), "PATHKEY") {
		t.Errorf("%v", err)
	}
}
