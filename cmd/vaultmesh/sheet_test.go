package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"vaultmesh.org/vaultmesh"
)

const digest = "sha256:1e8e590a4651f3c8edaad8e7aeaf14c3206dfb2a4ced87014cd3cd3cc2779d3a"

// laid is what a sheet says at a width; 0 is a pipe.
func laid(t *testing.T, width int, say func(s *sheet)) string {
	t.Helper()
	var out bytes.Buffer
	s := newSheet(&out)
	if width > 0 {
		s.width, s.terminal = width, true
	}
	say(s)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func example(s *sheet) {
	s.fact("node", "https://127.0.0.1:8443 as operator:ada")
	s.painted(red, "halted", "by operator:ada since 12:00:00: smoke in the hall, and nobody knows yet where it comes from")
	s.verbatim("bin/vaultmesh resume REASON")
	s.fact("root", "%s", digest)
	s.space()
	s.table("command", "age", "by", "twin", "what", "state", "reason")
	s.row("c-06h0fchs68sgja78nzgwvekj7w", "1.6s", "agent:dispatcher", "shunt-110", `disconnect {}`, "awaiting_approval", "an agent's switching needs a person's approval")
	s.row("c-06h0fchp9sf1917gvzgnpmmbww", "2.4s", "operator:ada", "gen-10", `setActivePower {"megawatts":440}`, "aligned", "")
	s.say("", "… more with --cursor fff99f11efdbc594fffffffffffff77f, and so on until the end of all of it")
}

// On a terminal nothing is wider than it is but words that alone are, and no word is broken or left out.
func TestSheetFitsTheTerminal(t *testing.T) {
	whole := strings.Fields(laid(t, 0, example))
	for _, width := range []int{40, 60, 80, 100, 140, 200} {
		text := laid(t, width, example)
		words := map[string]int{}
		for _, w := range strings.Fields(text) {
			words[w]++
		}
		for _, w := range whole {
			if words[w] == 0 {
				t.Errorf("at %d columns it lacks %q:\n%s", width, w, text)
			}
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimRight(line, "\n"); cells(line) > width && len(strings.Fields(line)) > 1 && !strings.Contains(line, "resume") {
				t.Errorf("wider than %d columns: %q", width, line)
			}
		}
	}
}

// Behind a pipe each row and each fact is one line, in columns.
func TestSheetInAPipe(t *testing.T) {
	got := laid(t, 0, func(s *sheet) {
		s.fact("node", "somewhere %s", strings.Repeat("far ", 60))
		s.table("twin", "reason")
		s.row("gen-1", strings.Repeat("why ", 60))
		s.row("generator-100", "")
	})
	lines := strings.Split(got, "\n")
	if len(lines) != 5 || lines[1] != "twin           reason" || lines[3] != "generator-100" || strings.Count(lines[2], "why") != 60 {
		t.Errorf("%q", lines)
	}
}

func TestSheetAt80Columns(t *testing.T) {
	want := `node    https://127.0.0.1:8443 as operator:ada
halted  by operator:ada since 12:00:00: smoke in the hall, and nobody knows yet
        where it comes from
        bin/vaultmesh resume REASON
root    ` + digest + `

command                       age   by                twin
    what                             state              reason
c-06h0fchs68sgja78nzgwvekj7w  1.6s  agent:dispatcher  shunt-110
    disconnect {}                    awaiting_approval  an agent's switching
                                                        needs a person's
                                                        approval
c-06h0fchp9sf1917gvzgnpmmbww  2.4s  operator:ada      gen-10
    setActivePower                   aligned
    {"megawatts":440}
`
	got := laid(t, 80, example)
	if got[:strings.Index(got, "…")] != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What comes from a log or a person moves no cursor.
func TestSheetIsClean(t *testing.T) {
	hostile := "\x1b[2J\x1b]0;owned\a\tx\ny\r\u202e"
	got := laid(t, 80, func(s *sheet) {
		s.fact(hostile, "%s", hostile)
		s.say("", "%s", hostile)
		s.verbatim(hostile)
		s.table("a", "b")
		s.row(hostile, hostile)
	})
	if strings.ContainsAny(got, "\x1b\a\r\t\u202e") {
		t.Errorf("%q", got)
	}
}

// Hints can be typed again as the program was typed.
func TestHintsAreTyped(t *testing.T) {
	defer func(was string) { program = was }(program)
	program = "bin/vaultmesh"
	var out bytes.Buffer
	if code := report(&out, vaultmesh.Errorf(vaultmesh.Invalid, "x", "", "no").WithFix("start one with `vaultmesh run`")); code != exitUnusable || !strings.Contains(out.String(), "start one with `bin/vaultmesh run`") {
		t.Errorf("%d: %s", code, out.String())
	}
	out.Reset()
	if code := run([]string{"receipts", "search", "--nonsense"}, &out, &out); code != exitUnusable || !strings.Contains(out.String(), "Try: bin/vaultmesh receipts search --help") {
		t.Errorf("%d: %s", code, out.String())
	}
	out.Reset()
	if code := run([]string{"demo", "--help"}, &out, &out); code != 0 || !strings.Contains(out.String(), "Usage: bin/vaultmesh demo") {
		t.Errorf("%d: %s", code, out.String())
	}
	if code := report(&out, errors.New("plain")); code != exitNo {
		t.Error(code)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}, {"receipts", "--version"}} {
		var out, errOut bytes.Buffer
		if code := run(args, &out, &errOut); code != 0 || out.String() != fmt.Sprintln("vaultmesh", vaultmesh.Version) {
			t.Errorf("%q: %d, %q %q", args, code, out.String(), errOut.String())
		}
	}
}
