package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"vaultmesh.org/vaultmesh/receipt"
	"vaultmesh.org/vaultmesh/test/peers"
	"vaultmesh.org/vaultmesh/test/sample"
)

// page builds the verifier for browsers and packs the page into a new folder.
func page(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	wasm := filepath.Join(dir, "verify.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", wasm, "vaultmesh.org/vaultmesh/cmd/vaultmesh-verify/browser")
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out := filepath.Join(dir, "verify.html")
	if err := run(wasm, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// patience bounds the whole test on a machine that does much else: the browser starts and compiles 9 MB of code.
const patience = 8 * time.Minute

// tab is a browser's tab that notes everything which a page that connects to nothing must not do.
type tab struct {
	context.Context
	served string // the one address that it may ask for; fixed before it does
	page   string // that is open
	runs   int    // judgements that it has shown
	mu     sync.Mutex
	events []string
}

func (b *tab) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, text)
}

func open(t *testing.T) *tab {
	t.Helper()
	bin := peers.Debian(t, "chromium", "/usr/bin/chromium")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	flags := []chromedp.ExecAllocatorOption{chromedp.ExecPath(bin), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1200, 1500),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true)}
	ctx, stop := chromedp.NewExecAllocator(ctx, flags...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	b := &tab{Context: ctx}
	err := chromedp.Listen(ctx, func(e any) {
		switch e := e.(type) {
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, "file:///") && u != b.served {
				b.note("it asks for " + u)
			}
		case *log.EventEntryAdded:
			b.note(e.Entry.Text)
		case *runtime.EventExceptionThrown:
			b.note(e.ExceptionDetails.Text)
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// judge opens the page, gives it both files, and returns the verdict and the text.
func (b *tab) judge(t *testing.T, page, bundle, trust, picture string) (verdict, text string) {
	t.Helper()
	choose := func(input, file string) chromedp.Action[chromedp.Void] {
		return chromedp.SetUploadFiles(input, []string{file})
	}
	judged := func() chromedp.Action[chromedp.Void] {
		b.runs++
		return chromedp.WaitVisible(fmt.Sprintf(`#result[data-run="%d"]`, b.runs))
	}
	var err error
	if b.page == page { // the new bundle is judged by the trust file that is there
		err = chromedp.Do(b, choose("#bundle", bundle), judged())
	} else {
		b.page, b.runs = page, 0
		err = chromedp.Do(b, chromedp.Navigate(page), choose("#bundle", bundle))
	}
	if err == nil {
		err = chromedp.Do(b, choose("#trust", trust), judged())
	}
	if err == nil {
		verdict, err = chromedp.Run(b, chromedp.Evaluate[string](`document.getElementById("result").dataset.verdict`))
	}
	if err == nil {
		text, err = chromedp.Run(b, chromedp.TextContent("#result"))
	}
	if dir := os.Getenv("VAULTMESH_PICTURES"); dir != "" && err == nil {
		var shot []byte
		if shot, err = chromedp.Run(b, chromedp.FullScreenshot(100)); err == nil {
			err = os.WriteFile(filepath.Join(dir, picture), shot, 0o600)
		}
	}
	if err != nil {
		t.Fatalf("%v; the page said %q", err, b.events)
	}
	return verdict, text
}

// phone asks whether the page fits a telephone's width, with everything unfolded.
func (b *tab) phone(t *testing.T) {
	t.Helper()
	const width = 360
	if err := chromedp.Do(b, chromedp.EmulateViewport(width, 740)); err != nil {
		t.Fatal(err)
	}
	wide, err := chromedp.Run(b, chromedp.Evaluate[string](`document.querySelectorAll("details").forEach((d) => d.open = true); [document.documentElement, ...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll")).map((e) => e.tagName + "." + e.className).slice(0, 5).join(" ")`))
	if err != nil || wide != "" {
		t.Errorf("wider than %d pixels: %s (%v)", width, wide, err)
	}
	if err := chromedp.Do(b, chromedp.EmulateViewport(1200, 1500)); err != nil {
		t.Fatal(err)
	}
}

// unreadable gives the page a file that vanishes before it is read: it says so, and judges no earlier file in its place.
func (b *tab) unreadable(t *testing.T) {
	t.Helper()
	text, err := chromedp.Run(b, chromedp.Evaluate[string](`(() => { const gone = new File(["{}"], "gone.json"); gone.arrayBuffer = () => Promise.reject(new Error("it vanished")); take("bundle", gone); return ""; })()`))
	if err == nil {
		err = chromedp.Do(b, chromedp.WaitVisible("#drop-bundle.failed"))
	}
	if err == nil {
		text, err = chromedp.Run(b, chromedp.TextContent("#inputs"))
	}
	if err != nil || !strings.Contains(text, "gone.json cannot be read: it vanished") {
		t.Errorf("a file that cannot be read: %v\n%s", err, text)
	}
	if idle, err := chromedp.Run(b, chromedp.Evaluate[bool](`byID("go").disabled && files.bundle === null`)); err != nil || !idle {
		t.Errorf("the earlier file stands in its place: %v", err)
	}
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPage has a browser judge a bundle with every kind of proof from a file on the disk, the same with one byte changed,
// and the same by another trust file.
func TestPage(t *testing.T) {
	w := sample.New(t)
	bundle := w.Pack(w.Everything())
	trust := w.Trust()
	pins, err := json.Marshal(trust)
	if err != nil {
		t.Fatal(err)
	}
	html, b := page(t), open(t)
	keys := write(t, "trust.json", pins)

	verdict, text := b.judge(t, "file://"+html, write(t, "bundle.json", bundle), keys, "verified.png")
	if verdict != "ok" {
		t.Fatalf("the honest bundle: %s\n%s", verdict, text)
	}
	for _, want := range []string{"agent:dispatcher → transformer-4-9", "Approved by operator:alice", "The asset did what was commanded", "2 new violations, worst: bus-8", "2 of 3 pinned witnesses cosigned: north, south", "by Ethereum"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	report := receipt.Demand{Now: time.Now()}.Verify(bundle, trust)
	for _, f := range report.Families {
		if !strings.Contains(text, f.Name) {
			t.Errorf("the page lacks the checks %s", f.Name)
		}
	}

	at := bytes.Index(bundle, []byte(`"name":"receipts/0000000005.dsse.json"`)) - 40
	bad := bytes.Clone(bundle)
	if bad[at] == 'A' {
		bad[at] = 'B'
	} else {
		bad[at] = 'A'
	}
	verdict, text = b.judge(t, "file://"+html, write(t, "bundle.json", bad), write(t, "trust.json", pins), "refused.png")
	if verdict != "refused" || !strings.Contains(text, "receipts/0000000005.dsse.json") || !strings.Contains(text, "it was altered") {
		t.Errorf("one byte changed: %s\n%s", verdict, text)
	}

	other := *trust
	other.ReceiptKeys = []receipt.TrustedKey{{ID: sample.NewKey("x").KeyID(), Public: sample.NewKey("x").Pub()}}
	if pins, err = json.Marshal(other); err != nil {
		t.Fatal(err)
	}
	if verdict, text = b.judge(t, "file://"+html, write(t, "bundle.json", bundle), write(t, "trust.json", pins), "keys.png"); verdict != "refused" || !strings.Contains(text, "does not pin") {
		t.Errorf("keys of another: %s\n%s", verdict, text)
	}
	if verdict, text = b.judge(t, "file://"+html, write(t, "bundle.json", bundle), write(t, "trust.json", bundle), "unusable.png"); verdict != "error" {
		t.Errorf("a bundle as trust file: %s\n%s", verdict, text)
	}
	b.phone(t)
	b.unreadable(t)
	// The same from a server that sends the page's own policy, as a node does.
	content, err := os.ReadFile(html)
	if err != nil {
		t.Fatal(err)
	}
	_, policy, _ := strings.Cut(string(content), `Security-Policy" content="`)
	policy, _, _ = strings.Cut(policy, `"`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/verify" {
			b.note("the server is asked for " + r.URL.Path)
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", policy+"; frame-ancestors 'none'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if _, err := w.Write(content); err != nil {
			b.note(err.Error())
		}
	}))
	defer server.Close()
	b.served = server.URL + "/verify"
	if verdict, text = b.judge(t, b.served, write(t, "bundle.json", bundle), keys, "served.png"); verdict != "ok" {
		t.Errorf("from a server: %s\n%s", verdict, text)
	}
	if len(b.events) > 0 {
		t.Errorf("the browser reports: %q", b.events)
	}
}

// The page names the only scripts that it runs, and nothing in it leads outside.
func TestPageIsClosed(t *testing.T) {
	got, _, err := pack([]byte("code"), []byte("let go;"))
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := pack([]byte("code"), []byte("let go;"))
	if err != nil || !bytes.Equal(got, again) {
		t.Error("the same input gives another page")
	}
	for _, foreign := range []string{"http://", "https://", "src=", "@import", "url(", "unsafe-inline", "unsafe-eval' ", "{{"} {
		text := strings.ReplaceAll(string(got), "http://www.w3.org/2000/svg", "")
		if strings.Contains(text, foreign) {
			t.Errorf("the page holds %q", foreign)
		}
	}
	if !bytes.Contains(got, []byte(`content="default-src 'none'; script-src 'sha256-`)) {
		t.Error("the page has no policy")
	}
}
