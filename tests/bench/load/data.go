package main

import (
	"fmt"
	"math/rand/v2"
)

// Words of which values are made: text that compresses about as well as small JSON does.
var words = []string{
	`{"name":"`, `","city":"`, `","active":true,`, `"amount":`, `"updated_at":"20`, `"status":"open",`,
	"anna", "bert", "clara", "oslo", "lima", "quito", "1204.50", "77", "9183", "0x5f3a91c7", "-", "}",
}

// keyOf is the 16 byte key with this number.
func keyOf(number int) []byte { return fmt.Appendf(nil, "key-%012d", number) }

func keysOf(count int) [][]byte {
	keys := make([][]byte, count)
	for number := range keys {
		keys[number] = keyOf(number)
	}
	return keys
}

// data makes the records of a topic: every key once, then again; each time in turn, or in an order of its own.
type data struct {
	random    *rand.Rand
	keys      [][]byte
	shuffled  bool
	order     []int
	next      int
	valueSize int
	json      bool
}

func newData(seed uint64, distinct, valueSize int, shuffled bool) *data {
	return &data{
		random: rand.New(rand.NewPCG(seed, 0)), keys: keysOf(distinct), next: distinct, valueSize: valueSize,
		shuffled: shuffled,
	}
}

// jsonValue is an object of about the size, whose city is one of a thousand.
func (d *data) jsonValue() []byte {
	value := fmt.Appendf(nil, `{"id":%d,"city":"city-%03d","active":%t,"note":"`,
		d.random.Uint32(), d.random.IntN(1000), d.random.IntN(2) == 0)
	for len(value) < d.valueSize-2 {
		value = fmt.Appendf(value, "%x", d.random.Uint32())
	}
	return append(value[:max(len(value)-8, d.valueSize-2)], `"}`...)
}

func (d *data) record() (key, value []byte) {
	if d.next == len(d.keys) {
		d.next = 0
		if d.shuffled {
			d.order = d.random.Perm(len(d.keys))
		}
	}
	number := d.next
	if d.shuffled {
		number = d.order[d.next]
	}
	key = d.keys[number]
	d.next++
	return key, d.value()
}

func (d *data) value() []byte {
	if d.json {
		return d.jsonValue()
	}
	value := make([]byte, 0, d.valueSize+16)
	for len(value) < d.valueSize {
		value = append(value, words[d.random.IntN(len(words))]...)
		if d.random.IntN(3) == 0 {
			value = fmt.Appendf(value, "%x", d.random.Uint32())
		}
	}
	return value[:d.valueSize]
}
