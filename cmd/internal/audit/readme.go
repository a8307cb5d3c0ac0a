package audit

import (
	"path"
	"strconv"
	"strings"

	"vaultmesh.org/vaultmesh/receipt"
)

// dated is a proof of time, and the body that it dates. Names of parts are digits, letters and hyphens: a shell reads them
// as they stand.
type dated struct{ proof, body, ots string }

// readme writes README.txt: the commands for what this bundle holds, and for the keys that are there. In text a line @name
// begins a block, which is kept if there is what it names; a command with {proof} is repeated for each; # is a number.
func (x *extraction) readme(b *receipt.Bundle, text string) {
	stamps := x.dated(b)
	manifest := "keys/receipt-" + strings.TrimPrefix(b.KeyID, "ed25519:") + ".pem"
	roots, keys := x.written["keys/tsa-roots.pem"], x.any("keys/", "")
	have := map[string]bool{
		"always": true, "keys": keys, "no keys": !keys, "manifest key": x.written[manifest], "no manifest key": !x.written[manifest],
		"log keys":     x.any("keys/log-", ".pem"),
		"witness keys": x.any("keys/witness-", ".pem") && x.any("", ".cosig"),
		"receipt keys": x.any("keys/receipt-", ".pem") && x.any("receipts/", ".sig"),
		"receipts":     x.any("receipts/", ".tlog-proof"), "consistency": x.any("anchors/", "/consistency"),
		"no authority":        keys && !roots && len(stamps[receipt.PartTimestamp]) > 0,
		receipt.PartTimestamp: roots && len(stamps[receipt.PartTimestamp]) > 0,
		receipt.PartBitcoin:   len(stamps[receipt.PartBitcoin]) > 0, receipt.PartEthereum: len(stamps[receipt.PartEthereum]) > 0,
	}
	var out strings.Builder
	block, section := "always", 0
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "@"); ok {
			block = strings.TrimSpace(name)
			continue
		}
		if !have[block] {
			continue
		}
		if title, ok := strings.CutPrefix(line, "#. "); ok {
			section++
			line = strconv.Itoa(section) + ". " + title
		}
		if !strings.Contains(line, "{proof}") {
			out.WriteString(strings.Replace(line, "{manifest key}", manifest, 1))
			continue
		}
		for _, d := range stamps[block] {
			if d.ots != "" || !strings.Contains(line, "{ots}") {
				out.WriteString(strings.NewReplacer("{proof}", d.proof, "{body}", d.body, "{ots}", d.ots).Replace(line))
			}
		}
	}
	x.write("README.txt", []byte(out.String()))
}

// dated lists the bundle's proofs of time by the type of their parts.
func (x *extraction) dated(b *receipt.Bundle) map[string][]dated {
	list := map[string][]dated{}
	for _, p := range b.Parts {
		d := dated{proof: p.Name, body: path.Dir(p.Name) + "/checkpoint.body"}
		if !x.written[d.body] { // it dates the main checkpoint
			d.body = "checkpoint.body"
		}
		if ots := strings.TrimSuffix(p.Name, ".json") + ".ots"; x.written[ots] {
			d.ots = ots
		}
		list[p.Type] = append(list[p.Type], d)
	}
	return list
}

// any reports whether a file with such a name was written.
func (x *extraction) any(prefix, suffix string) bool {
	for name := range x.written {
		if strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
