package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Step is one part of the story with what was observed.
type Step struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	Detail string  `json:"detail"`
	Millis float64 `json:"ms"`
}

// Result is how the story ended.
type Result struct {
	OK     bool   `json:"ok"`
	Steps  []Step `json:"steps"`
	Bundle string `json:"bundle"`
	Trust  string `json:"trust"`
	Data   string `json:"data"`
}

// JSON returns the result as one line.
func (r Result) JSON() string {
	b, err := json.Marshal(r)
	if err != nil {
		return `{"ok":false}`
	}
	return string(b)
}

// Table writes the result for people, at most width columns wide.
func (r Result) Table(w io.Writer, width int) error {
	names, times := len("step"), len("time")
	took := make([]string, len(r.Steps))
	for i, s := range r.Steps {
		took[i] = time.Duration(s.Millis * float64(time.Millisecond)).Round(time.Millisecond).String()
		names, times = max(names, len([]rune(s.Name))), max(times, len(took[i]))
	}
	room := max(width-names-times-7, 24)
	var b strings.Builder
	fmt.Fprintf(&b, "\n   %-*s  %*s  %s\n", names, "step", times, "time", "observed")
	for i, s := range r.Steps {
		lines := wrap(s.Detail, room)
		fmt.Fprintf(&b, "%s  %s%s  %*s  %s\n", mark(s.OK), s.Name, strings.Repeat(" ", names-len([]rune(s.Name))), times, took[i], lines[0])
		for _, l := range lines[1:] {
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", names+times+7), l)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mark(ok bool) string {
	if ok {
		return "✓"
	}
	return "✗"
}

// wrap cuts s into lines of at most n characters at spaces.
func wrap(s string, n int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > n {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(out, line)
}

// progress shows the step under way: a spinner on a terminal, a line a step elsewhere.
type progress struct {
	w    io.Writer
	live bool

	mu   sync.Mutex
	name string
	at   time.Time
	stop chan struct{}
	done sync.WaitGroup
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, stop: make(chan struct{})}
	if f, ok := w.(*os.File); ok {
		st, err := f.Stat()
		p.live = err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	}
	if p.live {
		p.done.Go(p.spin)
	}
	return p
}

func (p *progress) spin() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-p.stop:
			return
		case <-t.C:
		}
		p.mu.Lock()
		if p.name != "" {
			fmt.Fprintf(p.w, "\r\x1b[K%c %s … %.1f s", []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[i%10], p.name, time.Since(p.at).Seconds())
		}
		p.mu.Unlock()
	}
}

func (p *progress) begin(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.at = name, time.Now()
}

func (p *progress) end(s Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name = ""
	sign := mark(s.OK)
	if p.live {
		color := "\x1b[32m"
		if !s.OK {
			color = "\x1b[31m"
		}
		fmt.Fprint(p.w, "\r\x1b[K")
		sign = color + sign + "\x1b[0m"
	}
	fmt.Fprintf(p.w, "%s %s\n", sign, s.Name)
}

func (p *progress) close() {
	close(p.stop)
	p.done.Wait()
}
