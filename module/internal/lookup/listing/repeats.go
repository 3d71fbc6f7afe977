package listing

// Repeats finds feeds that repeat another one: one URL under two names, or a list that two publishers
// distribute. It returns for each list the index of the feed that counts in its place, or -1. Of feeds
// with the same content, the one with the most points counts.
func Repeats(lists []List, content func(list int) string) []int {
	repeats := make([]int, len(lists))
	counts := make(map[string]int) // the feed that counts, by content
	for i := range lists {
		repeats[i] = -1
		c := content(i)
		if lists[i].Kind != Feed || c == "" {
			continue
		}
		best, known := counts[c]
		if !known || lists[i].evidence(false).Points() > lists[best].evidence(false).Points() {
			counts[c] = i
		}
	}
	for i := range lists {
		if best, known := counts[content(i)]; known && lists[i].Kind == Feed && best != i {
			repeats[i] = best
		}
	}
	return repeats
}
