//go:build js && wasm

// Command browser is the verifier as the page calls it: one function, vaultmeshVerify(bundle, trust, options), all three
// Uint8Arrays, which returns a line of JSON (package view). Nothing leaves the page.
package main

import (
	"syscall/js"

	"vaultmesh.org/vaultmesh/cmd/internal/view"
)

func main() {
	js.Global().Set("vaultmeshVerify", js.FuncOf(func(_ js.Value, args []js.Value) any {
		if len(args) != 3 {
			return `{"error":"want bundle, trust file and options","parts":[]}`
		}
		files := make([][]byte, len(args))
		for i, a := range args {
			files[i] = make([]byte, a.Get("length").Int())
			js.CopyBytesToGo(files[i], a)
		}
		return string(view.Judge(files[0], files[1], files[2]).JSON())
	}))
	select {} // the function is called for as long as the page lives
}
