// Package page holds the page with which a browser verifies bundles, as `make verify-page` built it into this program. It
// is on floor 6 and knows nothing but the file.
package page

import (
	"bytes"
	"embed"
	"sync"
)

//go:embed built
var built embed.FS

// Verify returns the page and its content security policy; ok is false where the program was built without it. The
// result is shared: it must not be changed.
var Verify = sync.OnceValues(func() (page Page, ok bool) {
	html, err := built.ReadFile("built/verify.html")
	if err != nil {
		return Page{}, false
	}
	_, rest, found := bytes.Cut(html, []byte(`http-equiv="Content-Security-Policy" content="`))
	policy, _, closed := bytes.Cut(rest, []byte(`"`))
	return Page{HTML: html, Policy: string(policy)}, found && closed
})

// Page is a page that connects to nothing.
type Page struct {
	HTML   []byte
	Policy string // names the only scripts and styles that it runs; the server sends it as well
}
