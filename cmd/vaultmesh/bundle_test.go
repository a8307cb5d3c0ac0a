package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// What people type becomes the query that it means, and what means nothing is refused with a way out.
func TestBundleFlags(t *testing.T) {
	parse := func(args ...string) (*bundleGetCmd, string) {
		var c struct {
			Bundle bundleCmd `cmd:""`
		}
		p, err := kong.New(&c)
		if err != nil {
			t.Fatal(err)
		}
		k, err := p.Parse(append([]string{"bundle"}, args...))
		if err != nil {
			return nil, err.Error()
		}
		return &c.Bundle.Get, k.Command()
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"c-1", "c-2", "--out", "f"}, "commands 2"},
		{[]string{"get", "c-1", "--subject", "twin/a", "--subject", "halt/dev", "--out", "f", "--head", "12"}, "commands 1 subjects 2 head 12"},
		{[]string{"--receipt", "0", "--out", "f"}, "range 0-0"},
		{[]string{"--first", "3", "--last", "9", "--out", "f"}, "range 3-9"},
		{[]string{"--from", "2026-01-02T00:00:00Z", "--until", "2026-01-03T00:00:00Z", "--out", "f"}, "range of 24h0m0s"},
		{[]string{"--out", "f"}, "want commands, subjects, or one range"},
		{[]string{"--receipt", "1", "--first", "3", "--last", "9", "--out", "f"}, "want commands, subjects, or one range"},
	} {
		cmd, said := parse(c.args...)
		if cmd == nil {
			t.Errorf("%q: %s", c.args, said)
			continue
		}
		q, err := cmd.query()
		var got []string
		add := func(ok bool, text string) {
			if ok {
				got = append(got, text)
			}
		}
		if err != nil {
			add(true, "error "+err.Error())
		} else {
			add(len(q.Commands) > 0, "commands "+strconv.Itoa(len(q.Commands)))
			add(len(q.Subjects) > 0, "subjects "+strconv.Itoa(len(q.Subjects)))
			for _, r := range q.Ranges {
				add(r.From.IsZero(), "range "+strconv.Itoa(int(r.First))+"-"+strconv.Itoa(int(r.Last)))
				add(!r.From.IsZero(), "range of "+r.Until.Sub(r.From).Round(time.Second).String())
			}
			add(q.Head > 0, "head "+strconv.Itoa(int(q.Head)))
		}
		if text := strings.Join(got, " "); !strings.Contains(text, c.want) {
			t.Errorf("%q: %s, want %s", c.args, text, c.want)
		}
	}
	if _, said := parse("--first", "3", "--out", "f"); !strings.Contains(said, "last") {
		t.Errorf("half a range: %s", said)
	}
	if _, said := parse("extract", "b", "dir"); !strings.HasPrefix(said, "bundle extract") && said != "bundle extract <bundle> <dir>" {
		t.Errorf("extract: %s", said)
	}
}
