// Command makepage packs the verifier's WebAssembly, its support script from the Go distribution, and the page into one
// HTML file that works from a disk and from a node, and connects to nothing: its content security policy allows only the
// scripts and the style whose digests it names. The same input gives the same bytes.
//
//	makepage WASM OUT
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed page.html style.css app.js
var sources embed.FS

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: makepage WASM OUT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "makepage:", err)
		os.Exit(1)
	}
}

func run(wasm, out string) error {
	code, err := os.ReadFile(wasm)
	if err != nil {
		return err
	}
	support, err := goSupport()
	if err != nil {
		return err
	}
	page, packed, err := pack(code, support)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(out, page, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes (WebAssembly %d, gzipped %d)\n", out, len(page), len(code), packed)
	return nil
}

// goSupport returns wasm_exec.js of the Go that is installed: it must be that of the compiler.
func goSupport() ([]byte, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	return os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
}

// pack returns the page and the size of the packed code.
func pack(code, support []byte) (page []byte, packed int, err error) {
	var zipped bytes.Buffer
	w, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		return nil, 0, err
	}
	if _, err := w.Write(code); err != nil {
		return nil, 0, err
	}
	if err := w.Close(); err != nil {
		return nil, 0, err
	}
	part := map[string]string{"GO": string(support)}
	for name, file := range map[string]string{"PAGE": "page.html", "STYLE": "style.css", "APP": "app.js"} {
		b, err := sources.ReadFile(file)
		if err != nil {
			return nil, 0, err
		}
		part[name] = string(b)
	}
	if strings.Contains(part["GO"]+part["APP"], "</script") {
		return nil, 0, fmt.Errorf("a script ends itself")
	}
	policy := "default-src 'none'; script-src " + digest(part["GO"]) + " " + digest(part["APP"]) + " 'wasm-unsafe-eval'; style-src " + digest(part["STYLE"]) + "; base-uri 'none'; form-action 'none'"
	sum := sha256.Sum256(code)
	out := strings.NewReplacer("{{CSP}}", policy, "{{STYLE}}", part["STYLE"], "{{GO}}", part["GO"], "{{APP}}", part["APP"],
		"{{WASM}}", base64.StdEncoding.EncodeToString(zipped.Bytes()), "{{BUILD}}", fmt.Sprintf("Its code has SHA-256 %x.", sum)).Replace(part["PAGE"])
	return []byte(out), zipped.Len(), nil
}

// digest is how a content security policy names an inline script or style.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
