package photo

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/bits"
	"slices"

	"petpick/src/pet"
)

// A scan's coded data is walked to its last bit, without making pixels of it: decoders skip whatever is between that and the next
// marker, and it must not be published. Every code must be one, and every coefficient in its place. ITU-T T.81, sections F.2 (sequential) and G.2 (progressive).

type scanComponent struct {
	*component
	dc, ac *huffman
}

// jpegScan is what a scan's header says.
type jpegScan struct {
	components []scanComponent
	first      int  // of the coefficients, in zig-zag order
	last       int  //
	refines    bool // adds a bit to what earlier scans gave
}

// scan writes the tables, the header and the coded data of the scan that begins here.
func (f *jpegFile) scan(ctx context.Context) error {
	if f.frame.components[0].stride == 0 {
		f.layOut()
	}
	var s jpegScan
	quant, tables, err := f.readScanHeader(&s)
	if err != nil {
		return err
	}
	f.writeTables(dqt, quant)
	if f.scans == 1 {
		f.write(f.frame.marker, f.frame.raw)
	}
	f.writeTables(dht, tables)
	if f.restart != f.lastRestart {
		f.lastRestart = f.restart
		f.write(dri, []byte{byte(f.restart >> 8), byte(f.restart)})
	}
	f.write(sos, f.scanHeader)
	return f.walk(ctx, &s)
}

// layOut is done late, for it takes memory: 8 B for 64 coefficients.
func (f *jpegFile) layOut() {
	for i := range f.frame.components {
		c := &f.frame.components[i]
		c.stride = ceil(f.o.width, 8*f.frame.hMax) * c.h
		c.rows = ceil(f.o.height, 8*f.frame.vMax) * c.v
		if f.frame.progressive() {
			c.known = make([]uint64, c.stride*c.rows)
		}
	}
}

func ceil(a, b int) int { return (a + b - 1) / b }

// readScanHeader also gives the tables that must be written for it.
func (f *jpegFile) readScanHeader(s *jpegScan) (quant, tables []*jpegTable, err error) {
	bad := corrupt(pet.JPEG, "a scan's header is malformed")
	b := f.scanHeader
	if len(b) < 6 || len(b) != 4+2*int(b[0]) {
		return nil, nil, bad
	}
	spectral := b[len(b)-3:]
	s.first, s.last = 0, 63
	if f.frame.progressive() {
		s.first, s.last, s.refines = int(spectral[0]), int(spectral[1]), spectral[2]>>4 != 0
		if s.first > s.last || s.last > 63 || s.first == 0 && s.last != 0 || s.first > 0 && b[0] != 1 || s.refines && spectral[2]>>4 != spectral[2]&15+1 {
			return nil, nil, bad
		}
	}
	for i := range f.frame.components {
		quant = append(quant, &f.quant[f.frame.components[i].quant])
	}
	mcu := 0 // blocks in one
	for b = b[1 : len(b)-3]; len(b) > 0; b = b[2:] {
		i := bytes.IndexByte([]byte(f.frame.ids()), b[0])
		if i < 0 || b[1]>>4 > 3 || b[1]&15 > 3 || f.quant[f.frame.components[i].quant].raw == nil {
			return nil, nil, bad
		}
		c := scanComponent{component: &f.frame.components[i]}
		if mcu += c.h * c.v; mcu > 10 && len(f.scanHeader) > 6 || slices.ContainsFunc(s.components, func(o scanComponent) bool { return o.id == c.id }) {
			return nil, nil, bad // B.2.3
		}
		if s.first == 0 && !s.refines {
			tables = append(tables, &f.huffman[b[1]>>4])
			c.dc = tables[len(tables)-1].build()
		}
		if s.last > 0 {
			tables = append(tables, &f.huffman[4+b[1]&15])
			c.ac = tables[len(tables)-1].build()
		}
		if s.first == 0 && !s.refines && c.dc == nil || s.last > 0 && c.ac == nil {
			return nil, nil, corrupt(pet.JPEG, "a scan's Huffman table is missing or malformed")
		}
		s.components = append(s.components, c)
	}
	return quant, tables, nil
}

// walk goes through the scan's restart intervals, each of which ends on a byte, and copies them.
func (f *jpegFile) walk(ctx context.Context, s *jpegScan) error {
	next := f.interleaved(s)
	mcus := ceil(f.o.width, 8*f.frame.hMax) * ceil(f.o.height, 8*f.frame.vMax)
	if len(s.components) == 1 {
		next, mcus = f.alone(s)
	}
	for restarts := 0; ; restarts++ {
		n := mcus
		if f.restart > 0 {
			n = min(n, f.restart)
		}
		mcus -= n
		if err := f.interval(ctx, n, next); err != nil || mcus == 0 {
			return err
		}
		marker, end := byte(rst0+restarts%8), f.at
		for f.at < len(f.data) && f.data[f.at] == 0xFF { // as often as one likes
			f.at++
		}
		if f.at == end || f.at == len(f.data) || f.data[f.at] != marker {
			return corrupt(pet.JPEG, "a restart marker is missing")
		}
		f.at++
		f.out = append(f.out, 0xFF, marker)
	}
}

// interval walks n MCUs, and copies as many bytes as they took.
func (f *jpegFile) interval(ctx context.Context, n int, next func(r *bitReader, n int) bool) error {
	const some = 512 // between two looks at the context
	r := &bitReader{data: f.data, at: f.at}
	for ; n > 0; n -= some {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !next(r, min(n, some)) || r.n < r.made {
			return corrupt(pet.JPEG, "its coded data cannot be read to its end")
		}
	}
	if r.endOfBand > 0 {
		return corrupt(pet.JPEG, "its coded data ends early")
	}
	start := f.at
	f.at = r.end()
	f.out = append(f.out, f.data[start:f.at]...)
	return nil
}

// interleaved reads MCUs of several components: each has h x v blocks in one.
func (f *jpegFile) interleaved(s *jpegScan) func(r *bitReader, n int) bool {
	return func(r *bitReader, n int) bool {
		for range n {
			for i := range s.components {
				c := &s.components[i]
				if !s.blocks(r, c, 0, c.h*c.v) {
					return false
				}
			}
		}
		return true
	}
}

// alone reads the only component of a scan block by block, of which there are only those that the picture needs.
func (f *jpegFile) alone(s *jpegScan) (next func(r *bitReader, n int) bool, mcus int) {
	c := &s.components[0]
	columns := ceil(ceil(f.o.width*c.h, f.frame.hMax), 8)
	rows := ceil(ceil(f.o.height*c.v, f.frame.vMax), 8)
	x, y := 0, 0
	return func(r *bitReader, n int) bool {
		for n > 0 {
			m := min(n, columns-x)
			if !s.blocks(r, c, y*c.stride+x, m) {
				return false
			}
			if n, x = n-m, x+m; x == columns {
				x, y = 0, y+1
			}
		}
		return true
	}, columns * rows
}

// blocks reads the bits of n blocks in a row; at is the place of the first in known, which only scans of one component need.
func (s *jpegScan) blocks(r *bitReader, c *scanComponent, at, n int) bool {
	switch {
	case c.dc != nil && c.ac != nil:
		for range n {
			if !r.sequential(c.dc, c.ac) {
				return false
			}
		}
	case c.dc != nil:
		for range n {
			if r.code(c.dc) == 0 {
				return false
			}
		}
	case c.ac == nil:
		r.skip(uint(n))
	case s.refines:
		return r.refine(c.ac, s.first, s.last, c.known[at:at+n])
	default:
		return r.progressive(c.ac, s.first, s.last, c.known[at:at+n])
	}
	return true
}

// huffman finds a code and what follows it.
type huffman struct {
	short [1 << shortCode]codeWord // by the next bits; 0 for codes that are longer
	many  []codeWord               // by the next bits: all the codes of a block that are whole in them
	most  [17]int32                // the largest code of each length, or -1
	base  [17]int32                // its place in symbols, less its value
	table []byte
}

// codeWord is, from the low byte: how many bits the code and what follows it have, at most 32; the symbol; how many coefficients it
// stands for in a sequential scan.
type codeWord uint32

const (
	shortCode  = 10
	manyCodes  = 12
	endOfBlock = 128 // coefficients: more than there are
	noCode     = 256 // coefficients: more than any codes stand for
)

func (w codeWord) bits() uint { return uint(w & 63) }
func (w codeWord) steps() int { return int(w >> 16) }

// word makes the codeWord of symbol k, whose code has n bits.
func (h *huffman) word(n int, k int32) codeWord {
	sym := h.table[17+k]
	size, steps := int(sym&15), int(sym>>4)+1
	switch {
	case h.table[0]>>4 == 0: // DC: the symbol is the size
		size = int(sym)
	case sym == 0:
		steps = endOfBlock
	case size == 0 && sym != 0xF0: // a run without an end, but for the sixteen zeros
		steps = noCode
	}
	return codeWord(n+size) | codeWord(sym)<<8 | codeWord(steps)<<16
}

// build makes the decoder of a table, or nil: symbols are distinct in what an encoder writes, and codes must fit their lengths.
func (t *jpegTable) build() *huffman {
	if t.raw == nil || t.decoder != nil {
		return t.decoder
	}
	var seen [256]bool
	for _, sym := range t.raw[17:] {
		if seen[sym] || t.raw[0]>>4 == 0 && sym > 16 {
			return nil
		}
		seen[sym] = true
	}
	h := &huffman{table: t.raw}
	code, k := int32(0), int32(0)
	for n := 1; n <= 16; n++ {
		h.base[n], h.most[n] = k-code, -1
		for range t.raw[n] {
			if code >= 1<<n {
				return nil
			}
			if n <= shortCode {
				for i := range int32(1) << (shortCode - n) {
					h.short[code<<(shortCode-n)|i] = h.word(n, k)
				}
			}
			h.most[n] = code
			code, k = code+1, k+1
		}
		code <<= 1
	}
	if k == 0 {
		return nil
	}
	t.decoder = h
	return h
}

// long looks for a code of more than shortCode bits; 0 when there is none.
func (h *huffman) long(acc uint64) codeWord {
	for n := shortCode + 1; n <= 16; n++ {
		if code := int32(acc >> (64 - n)); code <= h.most[n] {
			return h.word(n, h.base[n]+code)
		}
	}
	return 0
}

// bitReader reads the coded data of a restart interval, without the zeros that are stuffed in behind FF. Behind its end, which is a
// marker, it makes zeros.
type bitReader struct {
	data      []byte
	at        int
	acc       uint64 // the next bits, from the top
	n         uint   // how many of them count
	made      uint   // how many of those, at the end, are made
	endOfBand int    // blocks to come that have nothing in this scan
}

// fill makes n at least 32.
func (r *bitReader) fill() {
	if r.at+8 <= len(r.data) {
		w := binary.BigEndian.Uint64(r.data[r.at:])
		if const80, const01 := uint64(0x8080808080808080), uint64(0x0101010101010101); (^w-const01)&w&const80 == 0 { // no byte is FF
			r.acc |= w >> r.n // those over the bits that count now come again
			whole := (63 - r.n) >> 3
			r.at, r.n = r.at+int(whole), r.n+whole*8
			return
		}
	}
	r.acc = r.acc >> (64 - r.n) << (64 - r.n)
	for ; r.n <= 56; r.n += 8 {
		switch {
		case r.at < len(r.data) && r.data[r.at] != 0xFF:
			r.acc |= uint64(r.data[r.at]) << (56 - r.n)
			r.at++
		case r.at+1 < len(r.data) && r.data[r.at] == 0xFF && r.data[r.at+1] == 0:
			r.acc |= 0xFF << (56 - r.n)
			r.at += 2
		default:
			r.made += 8
		}
	}
}

// end is behind the last byte that was begun.
func (r *bitReader) end() int {
	at := r.at
	for whole := (r.n - r.made) / 8; whole > 0; whole-- {
		if at--; r.data[at] == 0 && r.data[at-1] == 0xFF {
			at--
		}
	}
	return at
}

func (r *bitReader) skip(n uint) {
	if n <= r.n {
		r.acc, r.n = r.acc<<n, r.n-n
		return
	}
	r.skipFar(n)
}

func (r *bitReader) skipFar(n uint) {
	for n > r.n {
		n -= r.n
		r.acc, r.n = 0, 0
		r.fill()
	}
	r.acc, r.n = r.acc<<n, r.n-n
}

// code reads one, with the bits that follow it; 0 when it is none. It leaves 16 bits at least of those that follow.
func (r *bitReader) code(h *huffman) codeWord {
	if r.n < 32 {
		r.fill()
	}
	w := h.short[r.acc>>(64-shortCode)]
	if w == 0 {
		w = h.long(r.acc)
	}
	r.acc, r.n = r.acc<<w.bits(), r.n-w.bits()
	return w
}

// build many joins the words of short, for nobody asks here what the coefficients are.
func (h *huffman) join() {
	h.many = make([]codeWord, 1<<manyCodes)
	for i := range h.many {
		var sum codeWord
		for sum.steps() < 64 {
			w := h.short[i<<sum.bits()&(1<<manyCodes-1)>>(manyCodes-shortCode)]
			if w == 0 || sum.bits()+w.bits() > manyCodes {
				break
			}
			sum += w &^ 0xFF00
		}
		h.many[i] = sum
	}
}

// sequential reads a whole block. Most of the time goes here.
func (r *bitReader) sequential(dc, ac *huffman) bool {
	if r.code(dc) == 0 {
		return false
	}
	if ac.many == nil {
		ac.join()
	}
	many := (*[1 << manyCodes]codeWord)(ac.many)
	acc, n, k := r.acc, r.n, 1 // in registers
	for k < 64 {
		if n < 32 {
			r.acc, r.n = acc, n
			r.fill()
			acc, n = r.acc, r.n
		}
		w := many[acc>>(64-manyCodes)]
		if to := k + w.steps(); w == 0 || to > 63 && to <= endOfBlock || to > endOfBlock+63 {
			// Longer codes, none, or the end of the block before that of the codes: one at a time.
			if w = ac.short[acc>>(64-shortCode)]; w == 0 {
				if w = ac.long(acc); w == 0 {
					return false
				}
			}
		}
		acc, n, k = acc<<w.bits(), n-w.bits(), k+w.steps()
	}
	r.acc, r.n = acc, n
	return k == 64 || k > endOfBlock && k < endOfBlock+64
}

// progressive reads the first bits of the coefficients first to last of some blocks, and notes in known which are not zero.
func (r *bitReader) progressive(ac *huffman, first, last int, known []uint64) bool {
	for i := range known {
		if r.endOfBand > 0 {
			r.endOfBand--
			continue
		}
		seen, k := known[i], first
		for k <= last {
			w := r.code(ac)
			if w == 0 {
				return false
			}
			run, size := int(w>>12&15), int(w>>8&15)
			if size == 0 && run < 15 {
				r.endOfBand = r.band(run) - 1
				break
			}
			if k += run; size > 0 {
				seen |= 1 << (k & 63)
			}
			k++
		}
		if k > last+1 {
			return false
		}
		known[i] = seen
	}
	return true
}

// band reads how many blocks end here, this one included.
func (r *bitReader) band(run int) int {
	if run == 0 {
		return 1
	}
	extra := int(r.acc >> (64 - run))
	r.skip(uint(run))
	return 1<<run | extra
}

// refine reads one more bit of the coefficients first to last that are known in some blocks, and those that become so.
func (r *bitReader) refine(ac *huffman, first, last int, known []uint64) bool {
	within := uint64(1)<<last<<1 - 1
	for i := range known {
		seen, k := known[i], first
		if r.endOfBand == 0 {
			if seen, k = r.refineBlock(ac, first, last, seen); k == noBlock {
				return false
			}
			known[i] = seen
		}
		if r.endOfBand > 0 { // what is known behind the codes has its bits of correction
			r.endOfBand--
			r.skip(uint(bits.OnesCount64(seen & within >> k << k)))
		}
	}
	return true
}

const noBlock = -1

// refineBlock reads the codes of a block. It gives what is known now, and the coefficient at which they end.
func (r *bitReader) refineBlock(ac *huffman, first, last int, seen uint64) (now uint64, k int) {
	acc, n := r.acc, r.n // in registers
	for k = first; k <= last; {
		if n < 32 {
			r.acc, r.n = acc, n
			r.fill()
			acc, n = r.acc, r.n
		}
		w := ac.short[acc>>(64-shortCode)]
		if w == 0 {
			if w = ac.long(acc); w == 0 {
				return 0, noBlock
			}
		}
		zeros, size := int(w>>12&15), int(w>>8&15)
		if size == 0 && zeros < 15 {
			r.acc, r.n = acc<<w.bits(), n-w.bits()
			r.endOfBand = r.band(zeros)
			return seen, k
		}
		// Past as many zeros, and to the next one; each known coefficient on the way has a bit of correction.
		way := seen >> (k & 63)
		corrections := bits.OnesCount64(way & (2<<(zeros&63) - 1))
		for {
			more := bits.OnesCount64(way & (2<<(zeros+corrections) - 1))
			if more == corrections {
				break
			}
			corrections = more
		}
		to := k + zeros + corrections
		if to > last || size > 1 {
			return 0, noBlock
		}
		if skip := w.bits() + uint(corrections); skip <= n {
			acc, n = acc<<(skip&63), n-skip
		} else {
			r.acc, r.n = acc, n
			r.skipFar(skip)
			acc, n = r.acc, r.n
		}
		seen |= uint64(size) << (to & 63)
		k = to + 1
	}
	r.acc, r.n = acc, n
	return seen, k
}
