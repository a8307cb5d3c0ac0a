package receipt

import "vaultmesh.org/vaultmesh"

// StateBody is the body of state.root: the root of the domain's state tree (package proof/state).
type StateBody struct {
	Root    vaultmesh.Digest `json:"root"`
	Size    uint64           `json:"size,string"`    // receipts in the log of which this is the state: what those below Size caused, and nothing else
	Entries uint64           `json:"entries,string"` // keys in the tree
}

// ErasedBody is the body of data.erased: the key under which a principal's private texts were kept is destroyed. The
// receipts that commit to them stay as they are.
type ErasedBody struct {
	Principal vaultmesh.Principal `json:"principal"`
	Texts     uint64              `json:"texts,string"` // that had been kept under the key
	Reason    string              `json:"reason"`       // the operator's: say nothing personal
}
