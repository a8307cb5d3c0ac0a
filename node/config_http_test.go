package node

import (
	"strings"
	"testing"
)

// Places are bounded from both sides, and every request must find a connection.
func TestHTTPPlaces(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*HTTPConfig)
		wrong  string // empty: nothing
	}{
		"defaults":             {func(*HTTPConfig) {}, ""},
		"more":                 {func(c *HTTPConfig) { c.Connections, c.Requests = 4096, 1000 }, ""},
		"no reserved":          {func(c *HTTPConfig) { c.Reserved = 0 }, "http.reserved_requests"},
		"negative":             {func(c *HTTPConfig) { c.Open = -1 }, "http.open_requests"},
		"too many":             {func(c *HTTPConfig) { c.Feeds = 1 << 17 }, "http.feeds"},
		"too few connections":  {func(c *HTTPConfig) { c.Connections = 300 }, "http.connections"},
		"requests for nothing": {func(c *HTTPConfig) { c.Requests = 1000 }, "http.connections"},
	} {
		c := Defaults("dev")
		tc.change(&c.HTTP)
		err := c.Check()
		if (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := LoadConfig("", "dev", []string{"VAULTMESH_HTTP_CONNECTIONS=2000", "VAULTMESH_HTTP_RESERVED_REQUESTS=32"})
	if err != nil || c.HTTP.Connections != 2000 || c.HTTP.Reserved != 32 || c.HTTP.Requests != 256 {
		t.Errorf("%+v %v", c.HTTP, err)
	}
}
