package powerflow

import (
	"slices"

	"vaultmesh.org/vaultmesh"
)

// maxUpdates bounds the block updates of one factorisation, 4 bytes of index each.
const maxUpdates = 32_000_000

// minimumDegree orders the buses for elimination (Tinney and Walker 1967, scheme 2; ties by least index, so that the
// order and with it every result is reproducible). It returns the order and, for each bus, the later buses that it is
// connected to when it is eliminated: the pattern of the factors, fill included.
//
// The elimination graph is kept explicitly. That is quadratic in the largest clique, which stays small in power grids
// (about 60 for 9,241 buses); the bounds on fill and updates end the attempt where it does not.
func minimumDegree(n int, pairs [][2]int32) (order []int32, pattern [][]int32, err error) {
	adj := make([][]int32, n)
	for _, p := range pairs {
		adj[p[0]] = append(adj[p[0]], p[1])
		adj[p[1]] = append(adj[p[1]], p[0])
	}
	q := newDegreeQueue(n)
	for i := range adj {
		slices.Sort(adj[i])
		adj[i] = slices.Clip(slices.Compact(adj[i]))
		q.push(int32(i), len(adj[i]))
	}
	order = make([]int32, 0, n)
	fill, updates := 0, 0
	var merged []int32
	for len(order) < n {
		v := q.pop()
		order = append(order, v)
		d := len(adj[v])
		fill += d
		updates += d * (d - 1) / 2
		if fill > MaxFactorBlocks || updates > maxUpdates {
			return nil, nil, vaultmesh.Errorf(vaultmesh.TooLarge, opCompile, "",
				"the factors of this grid would need more than %d blocks or %d updates: it is meshed far beyond any power grid", MaxFactorBlocks, maxUpdates)
		}
		for _, u := range adj[v] {
			merged = mergeExcept(merged[:0], adj[u], adj[v], u, v)
			if cap(adj[u]) >= len(merged) {
				adj[u] = append(adj[u][:0], merged...)
			} else {
				adj[u] = slices.Clone(merged)
			}
			q.push(u, len(adj[u]))
		}
	}
	return order, adj, nil
}

// mergeExcept appends the union of two ascending lists without x and y.
func mergeExcept(dst, a, b []int32, x, y int32) []int32 {
	for len(a) > 0 || len(b) > 0 {
		var w int32
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			w, a = a[0], a[1:]
		case len(a) == 0 || b[0] < a[0]:
			w, b = b[0], b[1:]
		default:
			w, a, b = a[0], a[1:], b[1:]
		}
		if w != x && w != y {
			dst = append(dst, w)
		}
	}
	return dst
}

// degreeQueue yields the node of least degree, the least index among equals. A push of a node that is queued moves it:
// its old entry stays in the heap and is skipped when it surfaces.
type degreeQueue struct {
	degree []int   // the present degree of each node, -1 once popped
	heap   []int64 // degree<<32 | node
}

func newDegreeQueue(n int) *degreeQueue { return &degreeQueue{degree: make([]int, n)} }

func (q *degreeQueue) push(node int32, degree int) {
	q.degree[node] = degree
	q.heap = append(q.heap, int64(degree)<<32|int64(node))
	h := q.heap
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up] <= h[i] {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (q *degreeQueue) pop() int32 {
	for {
		h := q.heap
		top := h[0]
		last := len(h) - 1
		h[0] = h[last]
		h = h[:last]
		q.heap = h
		for i := 0; ; {
			least := i
			for _, c := range [2]int{2*i + 1, 2*i + 2} {
				if c < last && h[c] < h[least] {
					least = c
				}
			}
			if least == i {
				break
			}
			h[i], h[least] = h[least], h[i]
			i = least
		}
		node := int32(top & 0xffffffff)
		if q.degree[node] == int(top>>32) {
			q.degree[node] = -1
			return node
		}
	}
}

// symbolic is the structure of the factors, in positions. The matrix is structurally symmetric, so row i of U and
// column i of L have one pattern: idx[start[i]:start[i+1]], ascending, all above i. A place in idx is a slot.
type symbolic struct {
	start, idx []int32
	// updates lists, in the order in which the elimination needs them, the slots that it changes: for each i, for each
	// r in its pattern, for each later c in its pattern, the slot of (r, c).
	updates []int32
	// parent of each position in the elimination tree, -1 at a root.
	parent []int32
}

func analyse(pos, order []int32, pattern [][]int32) symbolic {
	n := len(order)
	s := symbolic{start: make([]int32, n+1), parent: make([]int32, n)}
	updates := 0
	for i, v := range order {
		from := len(s.idx)
		for _, u := range pattern[v] {
			s.idx = append(s.idx, pos[u])
		}
		row := s.idx[from:]
		slices.Sort(row)
		s.parent[i] = -1
		if len(row) > 0 {
			s.parent[i] = row[0]
		}
		s.start[i+1] = int32(len(s.idx))
		updates += len(row) * (len(row) - 1) / 2
	}
	s.updates = make([]int32, 0, updates)
	for i := range n {
		row := s.idx[s.start[i]:s.start[i+1]]
		for a, r := range row {
			at := s.start[r]
			for _, c := range row[a+1:] {
				for s.idx[at] != c { // c is there: elimination of i joined r and c
					at++
				}
				s.updates = append(s.updates, at)
			}
		}
	}
	return s
}

// slot returns the slot of (i, k), i < k, which must be in the pattern.
func (s *symbolic) slot(i, k int32) int32 {
	row := s.idx[s.start[i]:s.start[i+1]]
	at, _ := slices.BinarySearch(row, k)
	return s.start[i] + int32(at)
}
