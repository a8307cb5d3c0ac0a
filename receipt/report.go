package receipt

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Check is one comparison of [Verify]: its name, whether it holds, and in a sentence what was compared.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Report is the judgement over a bundle. OK only where every check holds.
type Report struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
}

// JSON returns the report as one line.
func (r Report) JSON() []byte {
	b, err := json.Marshal(r)
	if err != nil { // a struct of strings and booleans always encodes
		return nil
	}
	return b
}

// Failed returns the checks that do not hold.
func (r Report) Failed() []Check {
	var failed []Check
	for _, c := range r.Checks {
		if !c.OK {
			failed = append(failed, c)
		}
	}
	return failed
}

// Tree writes the report for people: the families of checks, below each its checks with what was compared. Families
// of which all hold are summed up in one line unless all is true.
func (r Report) Tree(w io.Writer, all bool) error {
	verdict := "VERIFIED"
	if !r.OK {
		verdict = fmt.Sprintf("REFUSED: %d of %d checks do not hold", len(r.Failed()), len(r.Checks))
	}
	var b strings.Builder
	b.WriteString(verdict + "\n")
	for i := 0; i < len(r.Checks); {
		family, n, held := familyOf(r.Checks[i].Name), 0, 0
		for ; i+n < len(r.Checks) && familyOf(r.Checks[i+n].Name) == family; n++ {
			if r.Checks[i+n].OK {
				held++
			}
		}
		branch, trunk := "├─", "│ "
		if i+n == len(r.Checks) {
			branch, trunk = "└─", "  "
		}
		if n == 1 {
			fmt.Fprintf(&b, "%s %s %s: %s\n", branch, mark(held == n), r.Checks[i].Name, r.Checks[i].Detail)
		} else {
			fmt.Fprintf(&b, "%s %s %s: %d of %d hold\n", branch, mark(held == n), family, held, n)
			if all || held < n {
				for _, c := range r.Checks[i : i+n] {
					if all || !c.OK {
						fmt.Fprintf(&b, "%s   %s %s: %s\n", trunk, mark(c.OK), c.Name, c.Detail)
					}
				}
			}
		}
		i += n
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

func familyOf(name string) string {
	family, _, _ := strings.Cut(name, "[")
	return family
}
