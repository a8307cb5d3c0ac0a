package ethereum

import (
	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/proof/ethereum/rlp"
)

// Bounds of a transaction's receipt.
const (
	maxReceiptType = 4       // 0 legacy, 1 access list (EIP-2930), 2 dynamic fee (EIP-1559), 3 blobs (EIP-4844), 4 delegation (EIP-7702)
	maxLogs        = 1 << 14 // of one transaction
	maxTopics      = 4
)

// Log is one event of a transaction.
type Log struct {
	Contract Address
	Topics   []Hash
	Data     []byte
}

// readLog reads log number index out of a transaction's receipt, as the trie of receipts holds it: the type's byte
// (EIP-2718) unless it is a legacy one, then a list of status, gas used so far in the block, bloom filter and logs. The
// transaction must have succeeded: a reverted one emits nothing.
func readLog(raw []byte, index uint32) (Log, error) {
	const op = "ethereum.receipt"
	if len(raw) > 0 && raw[0] < 0xc0 {
		if raw[0] == 0 || raw[0] > maxReceiptType {
			return Log{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "unknown type %d of transaction", raw[0])
		}
		raw = raw[1:]
	}
	it, err := rlp.Decode(raw)
	if err != nil {
		return Log{}, vaultmesh.Wrap(err, op, "")
	}
	fields, err := it.Items(4)
	if err != nil {
		return Log{}, vaultmesh.Wrap(err, op, "")
	}
	if len(fields) != 4 {
		return Log{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "%d fields, want 4", len(fields))
	}
	// Before Byzantium the first field was a state root of 32 bytes: it does not say whether the transaction succeeded.
	if status, err := fields[0].Uint(); err != nil || status != 1 {
		return Log{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the transaction has no status of success: it was reverted")
	}
	logs, err := fields[3].Items(maxLogs)
	if err != nil {
		return Log{}, vaultmesh.Wrap(err, op, "logs")
	}
	if uint64(index) >= uint64(len(logs)) {
		return Log{}, vaultmesh.Errorf(vaultmesh.Corrupt, op, "", "the transaction has %d logs, the proof names number %d", len(logs), index)
	}
	return openLog(logs[index])
}

func openLog(it rlp.Item) (Log, error) {
	const op = "ethereum.log"
	fields, err := it.Items(3)
	if err != nil {
		return Log{}, vaultmesh.Wrap(err, op, "")
	}
	if len(fields) != 3 {
		return Log{}, vaultmesh.Errorf(vaultmesh.Invalid, op, "", "%d fields, want 3", len(fields))
	}
	var l Log
	contract, err := fields[0].Bytes(len(Address{}))
	if err != nil {
		return Log{}, vaultmesh.Wrap(err, op, "contract")
	}
	copy(l.Contract[:], contract)
	topics, err := fields[1].Items(maxTopics)
	if err != nil {
		return Log{}, vaultmesh.Wrap(err, op, "topics")
	}
	l.Topics = make([]Hash, len(topics))
	for i, t := range topics {
		b, err := t.Bytes(len(Hash{}))
		if err != nil {
			return Log{}, vaultmesh.Wrap(err, op, "topics")
		}
		copy(l.Topics[i][:], b)
	}
	l.Data, err = fields[2].Bytes(-1)
	return l, vaultmesh.Wrap(err, op, "data")
}
