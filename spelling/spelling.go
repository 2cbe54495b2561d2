// Package spelling finds the word that somebody may have meant, for messages about
// mistakes in what people write.
package spelling

import "unicode/utf8"

// far is how many characters a word may not differ in, and be meant.
const far = 4

// Nearest returns the known word that differs from word in the fewest characters, the
// first of several: in less than four, and in at most half of its own. "" if there
// is none.
func Nearest(word string, known []string) string {
	best, least := "", far
	length := utf8.RuneCountInString(word)
	for _, k := range known {
		n := utf8.RuneCountInString(k)
		if max(n-length, length-n) >= far { // then the distance is no less
			continue
		}
		if d := Distance(word, k); d < least && d <= n/2 {
			best, least = k, d
		}
	}
	return best
}

// Distance is how many characters must be put in, taken out or replaced to make one
// word of the other (Levenshtein). Its time grows with the product of their lengths.
func Distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	row := make([]int, len(rb)+1)
	for j := range row {
		row[j] = j
	}
	for i, ca := range ra {
		diagonal := row[0]
		row[0] = i + 1
		for j, cb := range rb {
			cost := diagonal
			if ca != cb {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(rb)]
}
