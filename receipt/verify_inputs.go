package receipt

import (
	"cmp"
	"encoding/hex"
	"slices"

	"vaultmesh.org/vaultmesh"
)

// inputs checks that what a decision saw, and what a receipt keeps private, is what a receipt committed to.
func (j *judge) inputs() {
	const family = "input.binding"
	if len(j.byType[PartInput])+len(j.byType[PartPrivate]) == 0 {
		j.empty(family, "the bundle holds no inputs of decisions and no private texts")
		return
	}
	seen, private := map[vaultmesh.Digest][]*entry{}, map[vaultmesh.Digest]*entry{}
	for _, e := range j.order {
		if d := InputsOf(&e.Receipt); !d.IsZero() {
			seen[d] = append(seen[d], e)
		}
		for _, c := range PrivateIn(e.Body) {
			if private[c] == nil {
				private[c] = e
			}
		}
	}
	for _, p := range j.byType[PartInput] {
		j.input(family+"["+p.Name+"]", p, seen)
	}
	j.openings = map[vaultmesh.Digest]Opening{}
	for _, p := range j.byType[PartPrivate] {
		j.private(family+"["+p.Name+"]", p, private)
	}
	slices.SortStableFunc(j.words, func(a, b DisclosedText) int { return cmp.Compare(a.Index, b.Index) })
}

// input checks a document against each decision that names it.
func (j *judge) input(name string, p Part, seen map[vaultmesh.Digest][]*entry) {
	sum := p.Sum()
	if p.Name != "inputs/"+hex.EncodeToString(sum[:])+".json" {
		j.fail(name, "the document has digest %s", sum)
		return
	}
	in, err := OpenInputs(p.Data)
	if err != nil {
		j.fail(name, "%v", err)
		return
	}
	if len(seen[sum]) == 0 {
		j.fail(name, "no decision of the bundle names it")
		return
	}
	for _, e := range seen[sum] {
		err := in.matches(&e.Receipt)
		if l := j.lifeOf(e.Subject); err == nil && l != nil {
			err = l.fits(&in, e)
		}
		if err != nil {
			j.fail(name, "%v", err)
			return
		}
	}
	at := seen[sum][0]
	j.pass(name, "%s at index %d rests on exactly this: version %d of the twin, %s, %s, policy %s", at.Kind, at.index, in.TwinVersion, counted(len(in.Limits), "quota"), counted(len(in.Approvals), "approval"), in.Policy)
}

// lifeOf returns the command of the subject where all checks about it were made, or nil.
func (j *judge) lifeOf(subject string) *life {
	if j.lives == nil {
		j.lives = map[string]*life{}
		for _, l := range j.commands {
			if l.judged {
				j.lives[l.chain[0].Subject] = l
			}
		}
	}
	return j.lives[subject]
}

// private checks the opening of a commitment.
func (j *judge) private(name string, p Part, private map[vaultmesh.Digest]*entry) {
	o, err := DecodeOpening(p.Data)
	if err != nil {
		j.fail(name, "%v", err)
		return
	}
	c := o.Commitment()
	e := private[c]
	switch {
	case p.Name != PrivatePart(c, nil).Name:
		j.fail(name, "the text and its salt have the commitment %s", c)
	case e == nil:
		j.fail(name, "no receipt of the bundle commits to it")
	default:
		j.openings[c] = o
		j.words = append(j.words, DisclosedText{Index: e.index, Kind: e.Kind, Subject: e.Subject, Actor: e.Actor, Text: o.Text})
		j.pass(name, "the receipt at index %d commits to exactly this text", e.index)
	}
}

// disclosed returns the private text behind a reference where the bundle proves it, and any other text as it is.
func (j *judge) disclosed(text string) string {
	c, ok := ParsePrivateRef(text)
	if !ok {
		return text
	}
	if o, ok := j.openings[c]; ok {
		return o.Text
	}
	return "(kept private)"
}
