package ethereum

import (
	"bytes"
	"context"

	"vaultmesh.org/vaultmesh"
	eth "vaultmesh.org/vaultmesh/proof/ethereum"
)

// runtime is the code of the contract. It takes exactly 32 bytes and no money, and emits one event with two topics, the 32
// bytes and the caller, and no data; anything else is reverted. It has no owner, keeps nothing, cannot be changed, and
// everybody may call it. It needs the opcode PUSH0 (EIP-3855, Shanghai).
//
//	00 34     CALLVALUE
//	01 36     CALLDATASIZE
//	02 6020   PUSH1 32
//	04 18     XOR             0 if there are 32 bytes
//	05 17     OR              0 if moreover there is no money
//	06 6010   PUSH1 16
//	08 57     JUMPI
//	09 33     CALLER          the second topic
//	0a 5f     PUSH0
//	0b 35     CALLDATALOAD    the first topic
//	0c 5f     PUSH0           size of the data
//	0d 5f     PUSH0           offset of the data
//	0e a2     LOG2
//	0f 00     STOP
//	10 5b     JUMPDEST
//	11 5f     PUSH0
//	12 5f     PUSH0
//	13 fd     REVERT
var runtime = []byte{0x34, 0x36, 0x60, 0x20, 0x18, 0x17, 0x60, 0x10, 0x57, 0x33, 0x5f, 0x35, 0x5f, 0x5f, 0xa2, 0x00, 0x5b, 0x5f, 0x5f, 0xfd}

// creation returns the code that a deploying transaction runs: it puts the runtime into memory and returns it.
//
//	73 <runtime>  PUSH20
//	5f 52         PUSH0 MSTORE      the 20 bytes are the last of a word: offsets 12 to 31
//	6014 600c f3  PUSH1 20 PUSH1 12 RETURN
func creation() []byte {
	b := append([]byte{0x73}, runtime...)
	return append(b, 0x5f, 0x52, 0x60, 0x14, 0x60, 0x0c, 0xf3)
}

// checkContract makes sure that the code at the address is the contract's.
func (p *pool) checkContract(ctx context.Context, a eth.Address) error {
	code, err := agreed(ctx, p, "contract", func(ctx context.Context, c *client) (string, error) {
		var code data
		err := c.call(ctx, &code, smallReply, "eth_getCode", a, "latest")
		return string(code), err
	})
	switch {
	case err != nil:
		return err
	case code == "":
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.contract", a.String(), "there is no contract at this address on chain %d", p.chain).
			WithFix("deploy it with `vaultmesh anchor ethereum deploy`, and configure the address that it prints")
	case !bytes.Equal([]byte(code), runtime):
		return vaultmesh.Errorf(vaultmesh.Invalid, "ethereum.contract", a.String(), "the code at this address is not the contract's: %d bytes with hash %s", len(code), eth.Keccak([]byte(code))).
			WithFix("deploy it with `vaultmesh anchor ethereum deploy`, and configure the address that it prints")
	}
	return nil
}
