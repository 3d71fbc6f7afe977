package iplist

// boundary is the next address at which an interval of a list starts, or the one after its end.
type boundary struct {
	at   uint128
	list uint16
}

// sweep visits the boundaries of all lists in ascending order, and emits the longest intervals
// whose addresses are in the same lists. It leaves out addresses in no list.
func sweep[R interval[R]](lists [][]R, sets *interner, emit func(first, last uint128, set uint32)) {
	heap, inside := firstBoundaries(lists)
	var set uint32
	var start uint128
	for len(heap) > 0 {
		at, next := heap[0].at, set
		for len(heap) > 0 && heap[0].at == at {
			list := heap[0].list
			next = sets.toggle(next, list)
			if advance(&heap[0], &lists[list], &inside[list]) {
				siftDown(heap, 0)
				continue
			}
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
			siftDown(heap, 0)
		}
		if next == set {
			continue
		}
		if set != 0 {
			emit(start, at.previous(), set)
		}
		set, start = next, at
	}
	if set != 0 {
		emit(start, maxUint128, set)
	}
}

// firstBoundaries returns a heap with the first boundary of every list that is not empty.
func firstBoundaries[R interval[R]](lists [][]R) (heap []boundary, inside []bool) {
	heap = make([]boundary, 0, len(lists))
	for i, ranges := range lists {
		if len(ranges) > 0 {
			first, _ := ranges[0].bounds()
			heap = append(heap, boundary{first, uint16(i)})
		}
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		siftDown(heap, i)
	}
	return heap, make([]bool, len(lists))
}

// advance moves b to the next boundary of its list, and reports whether there is one: an interval
// that reaches to the last IPv6 address has no end.
func advance[R interval[R]](b *boundary, ranges *[]R, inside *bool) bool {
	if *inside = !*inside; *inside {
		_, last := (*ranges)[0].bounds()
		b.at = last.next()
		return last != maxUint128
	}
	*ranges = (*ranges)[1:]
	if len(*ranges) == 0 {
		return false
	}
	b.at, _ = (*ranges)[0].bounds()
	return true
}

func siftDown(heap []boundary, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && heap[child+1].at.less(heap[child].at) {
			child++
		}
		if !heap[child].at.less(heap[i].at) {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}
