package ethereum

import (
	"encoding/json"
	"math/big"
	"time"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// maxSigned bounds the transactions that one job signs with one nonce: the first and its replacements. Each is an eighth
// dearer than the one before, so that the caps end it earlier as a rule.
const maxSigned = 24

// memo is what a job remembers. All of Signed have the same nonce, so that the chain takes one of them at most, however
// often and in whatever order they are sent: that is why a crash never pays twice.
type memo struct {
	Nonce  uint64   `json:"nonce,string"`
	Signed []signed `json:"signed"`          // fees rise
	Sent   int      `json:"sent"`            // how many of them were sent, or perhaps sent
	SentAt int64    `json:"sent_at"`         // when the newest of them was sent first, Unix seconds
	Block  string   `json:"block,omitempty"` // where it was found, while the job is confirmed or final
	Height uint64   `json:"height,omitempty,string"`
	Lost   int      `json:"lost,omitempty"`        // nonces that a foreign transaction took, as it is proved: those cost nothing
	From   uint64   `json:"from,omitempty,string"` // height of the chain before the first transaction was signed
}

// signed is one transaction.
type signed struct {
	Raw    data     `json:"raw"`
	Hash   eth.Hash `json:"hash"`
	MaxFee string   `json:"max_fee"` // per gas, wei
	Tip    string   `json:"tip"`     // per gas, wei
	Gas    uint64   `json:"gas,string"`
}

// offer is what the transaction offers.
func (s *signed) offer() (maxFee, tip *big.Int, err error) {
	if maxFee, err = parseWei("max_fee", s.MaxFee); err != nil {
		return nil, nil, err
	}
	tip, err = parseWei("tip", s.Tip)
	return maxFee, tip, err
}

// readMemo opens a job's memo; a job without one has signed nothing.
func readMemo(raw json.RawMessage) (*memo, error) {
	m := &memo{}
	if len(raw) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.memo", "", "the job's memo cannot be read").Because(err)
	}
	ok := m.Sent >= 0 && m.Sent <= len(m.Signed) && len(m.Signed) <= maxSigned
	for _, s := range m.Signed {
		ok = ok && eth.Keccak(s.Raw) == s.Hash
	}
	if !ok {
		return nil, vaultmesh.Errorf(vaultmesh.Corrupt, "ethereum.memo", "", "the job's memo contradicts itself")
	}
	return m, nil
}

func (m *memo) encode() (json.RawMessage, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, vaultmesh.Errorf(vaultmesh.Internal, "ethereum.memo", "", "it cannot be encoded").Because(err)
	}
	return raw, nil
}

// cost is a job's fee once one of its transactions cost so much; nil leaves the fee as it was.
func cost(was string, paid *big.Int) string {
	if paid == nil {
		return was
	}
	return paid.String()
}

// newest is the dearest transaction.
func (m *memo) newest() *signed { return &m.Signed[len(m.Signed)-1] }

// sentAgo is how long ago the newest transaction was sent first.
func (m *memo) sentAgo(now time.Time) time.Duration { return now.Sub(time.Unix(m.SentAt, 0)) }
