package receipt

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Widths of the human form, in columns.
const (
	DefaultWidth = 100
	minWidth     = 40
	maxWidth     = 400
	unbounded    = 1 << 30
	longestWord  = 128 // of those with a digest, which people copy whole
)

// Tree writes the report for people: the verdict, what happened to each command, then the families of checks, below
// each its checks with what was compared. Of a family only the checks that do not hold are listed, the same failure once,
// and at most 100 commands are told, unless all is true. All is fitted to width columns, 40 to 400, at spaces; where it is
// 0 the account of the commands has [DefaultWidth], and each check is one line, for the program behind a pipe.
func (r Report) Tree(w io.Writer, all bool, width int) error {
	checks := unbounded
	if width == 0 {
		width = DefaultWidth
	} else {
		width = min(max(width, minWidth), maxWidth)
		checks = width
	}
	var b strings.Builder
	b.WriteString(r.verdict() + "\n")
	r.tell(&b, all, width)
	r.disclosed(&b, all, width)
	r.summary(&b, width)
	r.families(&b, all, checks)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) verdict() string {
	if r.OK {
		return "VERIFIED"
	}
	failed, missing := 0, 0
	for _, c := range r.Checks {
		switch {
		case !c.Judged():
			missing++
		case !c.OK:
			failed++
		}
	}
	text := "REFUSED: " + counted(failed, "check") + " failed"
	if missing > 0 {
		text += fmt.Sprintf(", %d %s not judged", missing, wasWere(missing))
	}
	return text
}

// disclosed writes people's own words that the bundle discloses.
func (r Report) disclosed(b *strings.Builder, all bool, width int) {
	if len(r.Disclosed) == 0 {
		return
	}
	wrap(b, "", "", "Disclosed: words that are not in the log, and are exactly what its receipts commit to:", width)
	for i, d := range r.Disclosed {
		if i == maxTold && !all {
			wrap(b, "  ", "    ", fmt.Sprintf("… and %d more", len(r.Disclosed)-i), width)
			break
		}
		wrap(b, "  ✓ ", "    ", fmt.Sprintf("receipt %d, %s %s by %s: %q", d.Index, d.Kind, d.Subject, d.Actor, short(d.Text)), width)
	}
}

// summary writes what is proved and what is not, in sentences.
func (r Report) summary(b *strings.Builder, width int) {
	for _, list := range []struct {
		title, mark string
		lines       []string
	}{{"Proved:", "✓", r.Proved}, {"Not proved:", "·", r.NotProved}} {
		if len(list.lines) == 0 {
			continue
		}
		b.WriteString(list.title + "\n")
		for i, line := range list.lines {
			if i == maxTold {
				wrap(b, "  ", "    ", fmt.Sprintf("… and %d more", len(list.lines)-i), width)
				break
			}
			wrap(b, "  "+list.mark+" ", "    ", line, width)
		}
	}
}

// families writes the checks. Families of which nothing could be judged share the last line.
func (r Report) families(b *strings.Builder, all bool, width int) {
	var groups [][]Check
	var missing []string
	for i := 0; i < len(r.Checks); {
		n := 1
		for i+n < len(r.Checks) && familyOf(r.Checks[i+n].Name) == familyOf(r.Checks[i].Name) {
			n++
		}
		if group := r.Checks[i : i+n]; all || slices.ContainsFunc(group, func(c Check) bool { return c.Detail != notJudged }) {
			groups = append(groups, group)
		} else if name := familyOf(group[0].Name); n > 1 {
			missing = append(missing, fmt.Sprintf("%s (%d)", name, n))
		} else {
			missing = append(missing, name)
		}
		i += n
	}
	for i, group := range groups {
		branch, trunk := "├─", "│ "
		if i == len(groups)-1 && len(missing) == 0 {
			branch, trunk = "└─", "  "
		}
		writeFamily(b, branch, trunk, group, all, width)
	}
	if len(missing) > 0 {
		if width == unbounded {
			width = DefaultWidth
		}
		wrap(b, "└─ – ", "     ", unjudged+", because an earlier check does not hold: "+strings.Join(missing, ", "), width)
	}
}

func writeFamily(b *strings.Builder, branch, trunk string, group []Check, all bool, width int) {
	leaf := func(c Check, text string) { wrap(b, trunk+"   "+mark(c)+" ", trunk+"     ", text, width) }
	if len(group) == 1 {
		c := group[0]
		wrap(b, branch+" "+mark(c)+" ", trunk+"   ", c.Name+": "+c.Detail, width)
		return
	}
	held, missing, unasked, empty, part := 0, 0, 0, 0, 0
	sign := "✓"
	for _, c := range group {
		switch {
		case c.OK && c.Empty:
			empty++
		case c.OK && c.Detail == noApproval:
			unasked++
		case c.OK && c.Partial:
			part++
		case c.OK:
			held++
		case !c.Judged():
			missing++
		}
		if !c.OK {
			sign = "✗"
		}
	}
	var parts []string
	switch {
	case empty == len(group):
		sign = "·"
	case part > 0 && sign == "✓":
		sign = "~"
	}
	if made := len(group) - missing - unasked - empty; made > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d %s", held, made, verb(held, "hold")))
	}
	if part > 0 {
		parts = append(parts, fmt.Sprintf("%d %s in part only", part, verb(part, "hold")))
	}
	if missing > 0 {
		parts = append(parts, fmt.Sprintf("%d %s not judged", missing, wasWere(missing)))
	}
	if empty > 0 {
		parts = append(parts, fmt.Sprintf("%d %s nothing", empty, verb(empty, "compare")))
	}
	if unasked > 0 {
		parts = append(parts, "for "+counted(unasked, "command")+" "+noApproval)
	}
	wrap(b, branch+" "+sign+" ", trunk+"   ", familyOf(group[0].Name)+": "+strings.Join(parts, "; "), width)
	if all {
		for _, c := range group {
			leaf(c, c.Name+": "+c.Detail)
		}
		return
	}
	for _, same := range slices.Concat(failures(group), partial(group)) {
		c := same[0]
		if len(same) == 1 {
			leaf(c, c.Name+": "+c.Detail)
		} else {
			leaf(c, fmt.Sprintf("%d × %s (first: %s)", len(same), c.Detail, c.Name))
		}
	}
}

// partial returns the checks that hold for a part, alone.
func partial(group []Check) (out [][]Check) {
	for _, c := range group {
		if c.OK && c.Partial {
			out = append(out, []Check{c})
		}
	}
	return out
}

// failures returns the checks that do not hold, those with the same detail together, in the order of their first.
func failures(group []Check) [][]Check {
	var out [][]Check
	at := map[string]int{}
	for _, c := range group {
		if c.OK {
			continue
		}
		i, ok := at[c.Detail]
		if !ok {
			i = len(out)
			at[c.Detail] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], c)
	}
	return out
}

func mark(c Check) string {
	switch {
	case c.OK && c.Empty:
		return "·"
	case c.OK && c.Partial:
		return "~"
	case c.OK:
		return "✓"
	case !c.Judged():
		return "–"
	default:
		return "✗"
	}
}

func familyOf(name string) string {
	family, _, _ := strings.Cut(name, "[")
	return family
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	plural := "s"
	if strings.HasSuffix(what, "s") || strings.HasSuffix(what, "sh") {
		plural = "es"
	}
	return fmt.Sprintf("%d %s%s", n, what, plural)
}

// verb is in the form that goes with a number of things.
func verb(n int, plural string) string {
	if n == 1 {
		return plural + "s"
	}
	return plural
}

func wasWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// printable makes a text safe for a terminal and one line long: what was signed may still hold control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		default:
			return r
		}
	}, s)
}

// wrap writes text in lines of at most width characters, broken at spaces, and within a word where it alone is
// longer, but for a digest.
func wrap(b *strings.Builder, indent, hang, text string, width int) {
	line, n, fresh := indent, utf8.RuneCountInString(indent), true
	flush := func() {
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		line, n, fresh = hang, utf8.RuneCountInString(hang), true
	}
	for word := range strings.SplitSeq(printable(text), " ") {
		w := []rune(word)
		if !fresh && n+1+len(w) > width {
			flush()
		}
		if fresh && len(w) == 0 {
			continue
		}
		if !fresh {
			line, n = line+" ", n+1
		}
		for n+len(w) > width && !(strings.Contains(word, "sha256:") && len(w) <= longestWord) {
			cut := width - n
			line, w = line+string(w[:cut]), w[cut:]
			flush()
		}
		line, n, fresh = line+string(w), n+len(w), false
	}
	flush()
}
