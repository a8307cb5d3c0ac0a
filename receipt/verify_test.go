package receipt

import (
	"bytes"
	"strings"
	"testing"
)

func TestVerifyHonestBundle(t *testing.T) {
	s := newStory(t)
	bundle := s.export()
	r := Verify(bundle, trust(t, s))
	var tree strings.Builder
	if err := r.Tree(&tree, true, 0); err != nil {
		t.Fatal(err)
	}
	if !r.OK {
		t.Fatal(tree.String())
	}
	for _, family := range families {
		found := false
		for _, c := range r.Checks {
			found = found || familyOf(c.Name) == family
		}
		if !found {
			t.Errorf("no check of family %s", family)
		}
	}
	if !bytes.HasPrefix(r.JSON(), []byte(`{"ok":true,"domain":"dev","proved":["13 receipts of domain dev, `)) {
		t.Errorf("JSON report begins %.120s", r.JSON())
	}
}
