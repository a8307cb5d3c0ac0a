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
)

// Tree writes the report for people: the verdict, what happened to each command, then the families of checks, below
// each its checks with what was compared. Of a family only the checks that do not hold are listed, the same failure once,
// and at most 100 commands are told, unless all is true. The account of the commands is fitted to width columns, 40 to
// 400; 0 stands for [DefaultWidth].
func (r Report) Tree(w io.Writer, all bool, width int) error {
	if width == 0 {
		width = DefaultWidth
	}
	width = min(max(width, minWidth), maxWidth)
	var b strings.Builder
	b.WriteString(r.verdict() + "\n")
	r.tell(&b, all, width)
	r.summary(&b, width)
	r.families(&b, all, width)
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
		writeFamily(b, branch, trunk, group, all)
	}
	if len(missing) > 0 {
		wrap(b, "└─ – ", "     ", unjudged+", because an earlier check does not hold: "+strings.Join(missing, ", "), width)
	}
}

func writeFamily(b *strings.Builder, branch, trunk string, group []Check, all bool) {
	if len(group) == 1 {
		c := group[0]
		fmt.Fprintf(b, "%s %s %s: %s\n", branch, mark(c), printable(c.Name), printable(c.Detail))
		return
	}
	held, missing, unasked, empty := 0, 0, 0, 0
	sign := "✓"
	for _, c := range group {
		switch {
		case c.OK && c.Empty:
			empty++
		case c.OK && c.Detail == noApproval:
			unasked++
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
	if empty == len(group) {
		sign = "·"
	}
	if made := len(group) - missing - unasked - empty; made > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d hold", held, made))
	}
	if missing > 0 {
		parts = append(parts, fmt.Sprintf("%d %s not judged", missing, wasWere(missing)))
	}
	if empty > 0 {
		parts = append(parts, fmt.Sprintf("%d compare nothing", empty))
	}
	if unasked > 0 {
		parts = append(parts, "for "+counted(unasked, "command")+" "+noApproval)
	}
	fmt.Fprintf(b, "%s %s %s: %s\n", branch, sign, familyOf(group[0].Name), strings.Join(parts, "; "))
	if all {
		for _, c := range group {
			fmt.Fprintf(b, "%s   %s %s: %s\n", trunk, mark(c), printable(c.Name), printable(c.Detail))
		}
		return
	}
	for _, same := range failures(group) {
		c := same[0]
		if len(same) == 1 {
			fmt.Fprintf(b, "%s   %s %s: %s\n", trunk, mark(c), printable(c.Name), printable(c.Detail))
		} else {
			fmt.Fprintf(b, "%s   %s %d × %s (first: %s)\n", trunk, mark(c), len(same), printable(c.Detail), printable(c.Name))
		}
	}
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
	return fmt.Sprintf("%d %ss", n, what)
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

// wrap writes text in lines of at most width characters, broken at spaces, and within a word where it alone is longer.
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
		for n+len(w) > width {
			cut := width - n
			line, w = line+string(w[:cut]), w[cut:]
			flush()
		}
		line, n, fresh = line+string(w), n+len(w), false
	}
	flush()
}
