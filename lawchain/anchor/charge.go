package anchor

import (
	"bytes"
	"math/big"
	"slices"
	"time"

	"vaultmesh.org/vaultmesh"
	"vaultmesh.org/vaultmesh/journal"
)

// overdrawn says that the day's budget is spent.
type overdrawn struct {
	err   error
	until time.Time
}

func (o *overdrawn) Error() string { return o.err.Error() }
func (o *overdrawn) Unwrap() error { return o.err }

// owed is what a job has to have in the accounts when it goes from x to y, and what of it is sunk. The engine does not
// know what a target signed and sent, so it never takes the target's word for less, but with a final proof:
//
//   - a job that had a memo may have been sent. Where the target begins anew, queued with another memo or without one,
//     what was charged and the target does not count any more is sunk: it may be paid beside what is signed next;
//   - a lower fee changes nothing until the job is final; then it costs what the target says, and what is sunk.
func owed(x, y *record) (total, sunk *big.Int, err error) {
	fee, ok := amount(y.Fee)
	had, ok2 := amount(x.Charged)
	sunk, ok3 := amount(x.Sunk)
	if !ok || !ok2 || !ok3 {
		return nil, nil, damaged("fees", nil)
	}
	anew := y.State == Queued && (x.State != Queued || !bytes.Equal(x.Memo, y.Memo)) || len(y.Memo) == 0
	if left := new(big.Int).Sub(had, sunk); len(x.Memo) > 0 && y.State != Final && anew && left.Cmp(fee) > 0 {
		sunk.Add(sunk, left.Sub(left, fee))
	}
	total = new(big.Int).Add(sunk, fee)
	if sent := len(x.Memo) > 0 || len(y.Memo) > 0 || x.State != Queued; sent && y.State != Final && total.Cmp(had) < 0 {
		total.Set(had)
	}
	return total, sunk, nil
}

// charge puts what the job may cost into the accounts of the day. It refuses where the day's budget does not hold it: then
// nothing of y is stored, and what was signed is never sent. What a job did not cost after all goes back to the days that
// were charged for it, the newest first.
func (e *Engine) charge(tx journal.Tx, l *lane, x, y *record, s *standing) error {
	want, sunk, err := owed(x, y)
	if err != nil {
		return err
	}
	had, ok := amount(x.Charged)
	total, ok2 := amount(s.Spent)
	if !ok || !ok2 {
		return damaged("fees", nil)
	}
	y.Charged, y.Sunk, y.Days, y.Day = written(want), written(sunk), slices.Clone(x.Days), ""
	if len(y.Days) == 0 && had.Sign() > 0 {
		y.Days = []charged{{x.Day, x.Charged}}
	}
	delta := new(big.Int).Sub(want, had)
	switch delta.Sign() {
	case 0:
		return nil
	case 1:
		err = e.debit(tx, l, y, delta)
	default:
		err = e.refund(tx, l, y, new(big.Int).Neg(delta))
	}
	s.Spent = written(floor(total.Add(total, delta)))
	return err
}

// debit takes an amount from today's budget.
func (e *Engine) debit(tx journal.Tx, l *lane, y *record, delta *big.Int) error {
	now := e.o.Now().UTC()
	day := now.Format("20060102")
	spent, err := account(tx, l, day)
	if err != nil {
		return err
	}
	spent.Add(spent, delta)
	if payer, ok := l.plan.Target.(Payer); ok {
		if most, unit := payer.Budget(); most != nil && spent.Cmp(most) > 0 {
			until := now.Truncate(24 * time.Hour).Add(24*time.Hour + time.Duration(l.rng.Int64N(int64(time.Minute))))
			return &overdrawn{vaultmesh.Errorf(vaultmesh.RateLimited, "anchor.budget", y.ID, "it may cost %s %s more, and %s of the day's %s would be exceeded", delta, unit, spent, most).
				WithFix("it is tried again tomorrow (UTC); raise the day's budget if it should go today"), until}
		}
	}
	tx.Put(keyDay(l.name, day), []byte(written(spent)))
	if last := len(y.Days) - 1; last >= 0 && y.Days[last].Day == day {
		sum, ok := amount(y.Days[last].Fee)
		if !ok {
			return damaged("fees", nil)
		}
		y.Days[last].Fee = written(sum.Add(sum, delta))
		return nil
	}
	y.Days = append(y.Days, charged{day, written(delta)})
	return nil
}

// refund gives an amount back to the days that it was taken from.
func (e *Engine) refund(tx journal.Tx, l *lane, y *record, back *big.Int) error {
	for back.Sign() > 0 && len(y.Days) > 0 {
		d := &y.Days[len(y.Days)-1]
		from, ok := amount(d.Fee)
		if !ok {
			return damaged("fees", nil)
		}
		part := from
		if back.Cmp(from) < 0 {
			part = back
		}
		spent, err := account(tx, l, d.Day)
		if err != nil {
			return err
		}
		tx.Put(keyDay(l.name, d.Day), []byte(written(floor(spent.Sub(spent, part)))))
		rest := new(big.Int).Sub(from, part)
		back = new(big.Int).Sub(back, part)
		if d.Fee = written(rest); rest.Sign() == 0 {
			y.Days = y.Days[:len(y.Days)-1]
		}
	}
	return nil
}

// account is what is charged on a day.
func account(tx journal.Tx, l *lane, day string) (*big.Int, error) {
	raw, _, err := tx.Get(keyDay(l.name, day))
	if err != nil {
		return nil, err
	}
	spent, ok := amount(string(raw))
	if !ok {
		return nil, damaged("fees", nil)
	}
	return spent, nil
}

// floor is n, and nothing where n is less.
func floor(n *big.Int) *big.Int {
	if n.Sign() < 0 {
		n.SetInt64(0)
	}
	return n
}
