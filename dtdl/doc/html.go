package doc

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"strings"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/dtdl"
)

//go:embed assets/page.html
var layout string

//go:embed assets/page.css
var style string

//go:embed assets/page.js
var script string

var pages = template.Must(template.New("doc").Funcs(template.FuncMap{
	"at":     func(anchor string) template.URL { return template.URL("#" + anchor) }, // a fragment of this page, whatever is behind the sign
	"lower":  strings.ToLower,
	"beyond": func(all []ref, n int) []ref { return all[min(n, len(all)):] },
}).Parse(layout))

// HTML returns the page of a set as one UTF-8 file. The same set and options give the same bytes.
// Error: TooLarge if the interfaces have more than MaxContents contents.
func HTML(set *dtdl.Set, o Options) ([]byte, error) {
	p, err := build(set, o)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = pages.ExecuteTemplate(&out, "page", struct {
		*page
		Policy string
		Style  template.CSS
		Script template.JS
	}{p, policy(), template.CSS(style), template.JS(script)}) // both are files of this package
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "dtdl.doc", "", "the page cannot be written").Because(err)
	}
	return out.Bytes(), nil
}

// policy allows the page's own style and script by their digests, and nothing else.
func policy() string {
	digest := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; style-src " + digest(style) + "; script-src " + digest(script) + "; base-uri 'none'; form-action 'none'"
}
