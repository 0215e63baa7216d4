package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// maxObject is how many bytes a body in JSON may have.
const maxObject = 4 << 10

// readObject reads an object of texts and numbers, token by token: encoding/json would also take a number as a text, a field by another case,
// the last of two, and what stands behind. Its fields are strings and json.Numbers, the latter as they were written. like shows what is wanted.
func readObject(body io.Reader, like string, texts, numbers []string) (map[string]json.Token, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxObject+1))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body ends early")
	}
	if len(text) > maxObject {
		return nil, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes, the limit of this route", maxObject))
	}
	wrong := func(what string) (map[string]json.Token, error) {
		return nil, refuse(http.StatusBadRequest, what+": the body must be JSON such as "+like)
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return wrong("the body is not an object in JSON")
	}
	fields := map[string]json.Token{}
	for {
		name, err := in.Token()
		if err != nil {
			return wrong("the body is not well-formed JSON")
		}
		if name == json.Delim('}') {
			break
		}
		field, _ := name.(string)
		isText, isNumber := slices.Contains(texts, field), slices.Contains(numbers, field)
		if !isText && !isNumber {
			return wrong(fmt.Sprintf("the field %.40q is unknown", field))
		}
		if _, twice := fields[field]; twice {
			return wrong(field + " is given more than once")
		}
		value, err := in.Token()
		if err != nil {
			return wrong("the body is not well-formed JSON")
		}
		if _, ok := value.(string); isText && !ok {
			return wrong(field + " is not a text")
		}
		if _, ok := value.(json.Number); isNumber && !ok {
			return wrong(field + " is not a number")
		}
		fields[field] = value
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return wrong("there is something behind the object")
	}
	return fields, nil
}
