package edge

import (
	"container/list"
	"strings"
	"sync"
	"time"

	"petpick/src/gateway"
)

// maxCacheBytes bounds what the edge keeps: the least recently used goes first.
const maxCacheBytes = 64 << 20

type cache struct {
	mu      sync.Mutex
	entries map[string]*list.Element
	recent  *list.List
	bytes   int
	epoch   int // one more with each invalidation
}

type cacheEntry struct {
	key          string
	answer       gateway.Answer
	stored, ends time.Time
}

// size counts the key and a round number for headers, so that many small entries are bounded too.
func (e *cacheEntry) size() int { return len(e.key) + len(e.answer.Body) + 1024 }

func newCache() *cache { return &cache{entries: map[string]*list.Element{}, recent: list.New()} }

func (c *cache) get(key string, now time.Time) (gateway.Answer, time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[key]
	if !ok {
		return gateway.Answer{}, 0, false
	}
	e := el.Value.(*cacheEntry)
	if !now.Before(e.ends) {
		c.remove(el)
		return gateway.Answer{}, 0, false
	}
	c.recent.MoveToFront(el)
	return e.answer, now.Sub(e.stored), true
}

// began returns what put wants to know: when the fetch of an answer began.
func (c *cache) began() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// put keeps an answer, unless something was invalidated since its fetch began: it may be what was to be forgotten.
func (c *cache) put(key string, began int, a gateway.Answer, now time.Time, ttl time.Duration) {
	e := &cacheEntry{key, a, now, now.Add(ttl)}
	if e.size() > maxCacheBytes/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if began != c.epoch {
		return
	}
	if old, ok := c.entries[key]; ok {
		c.remove(old)
	}
	c.entries[key] = c.recent.PushFront(e)
	for c.bytes += e.size(); c.bytes > maxCacheBytes; {
		c.remove(c.recent.Back())
	}
}

// drop forgets a path, whatever else is in the key.
func (c *cache) drop(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for key, el := range c.entries {
		if strings.HasPrefix(key, path+"?") {
			c.remove(el)
		}
	}
}

func (c *cache) remove(el *list.Element) {
	e := c.recent.Remove(el).(*cacheEntry)
	delete(c.entries, e.key)
	c.bytes -= e.size()
}
