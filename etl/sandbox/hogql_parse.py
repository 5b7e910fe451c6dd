"""Reads HogQL: tokens into a tree."""

from etl.sandbox.errors import ApiError
from etl.sandbox.hogql_tokens import Token, refused, tokens, unescaped
from etl.sandbox.hogql_tree import (
    Call,
    Column,
    Constant,
    Expr,
    Field,
    Many,
    Operation,
    Placeholder,
    Query,
    Select,
    Source,
    Star,
    Subquery,
)

_ENDS = frozenset(
    (
        "from", "where", "group", "having", "order", "limit", "union", "as", "and", "or", "not",
        "in", "is", "like", "ilike", "between", "asc", "desc", "on", "join", "by", "offset",
        "prewhere", "sample", "array", "cross", "left", "right", "inner", "full",
    )
)  # fmt: skip
_COMPARED = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}
_WORDS = {"true": True, "false": False, "null": None}


def parse(sql: str) -> Query:
    """The tree of a query. Raises ApiError 400 for a syntax error."""
    return _Parser(sql).whole()


class _Parser:
    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._tokens = tokens(sql)
        self._at = 0

    def whole(self) -> Query:
        query = self._query()
        self._take(";")
        if self._at < len(self._tokens):
            raise self._unexpected()
        return query

    # Tokens

    def _word(self, ahead: int = 0) -> str:
        """The text of a token: names in lower case, quoted names as nothing."""
        at = self._at + ahead
        if at >= len(self._tokens):
            return ""
        token = self._tokens[at]
        return token.text.lower() if token.kind in ("name", "sign") else ""

    def _take(self, *words: str) -> bool:
        """Goes past these words if they come next."""
        if all(self._word(ahead) == word for ahead, word in enumerate(words)):
            self._at += len(words)
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self._unexpected(f", expected {word!r}")

    def _kind(self) -> str:
        return self._tokens[self._at].kind if self._at < len(self._tokens) else ""

    def _next(self) -> Token:
        if self._at >= len(self._tokens):
            raise self._unexpected()
        self._at += 1
        return self._tokens[self._at - 1]

    def _unexpected(self, more: str = "") -> ApiError:
        if self._at >= len(self._tokens):
            return refused(f"Syntax error: unexpected end of the query{more}")
        token = self._tokens[self._at]
        return refused(f"Syntax error at position {token.begin}: unexpected {token.text!r}{more}")

    def _name(self) -> str:
        token = self._next()
        if token.kind == "quoted":
            return unescaped(token.text[1:-1])
        if token.kind != "name":
            self._at -= 1
            raise self._unexpected()
        return token.text

    def _names_alias(self) -> bool:
        kind = self._kind()
        return kind == "quoted" or (kind == "name" and self._word() not in _ENDS)

    # Queries

    def _query(self) -> Query:
        selects = [self._member()]
        while self._take("union", "all"):
            selects.append(self._member())
        return Query(tuple(selects))

    def _member(self) -> Select:
        if self._word() == "(":
            self._need("(")
            select = self._member()
            self._need(")")
            return select
        return self._select()

    def _select(self) -> Select:
        self._need("select")
        distinct = self._take("distinct")
        columns = [self._column()]
        while self._take(","):
            columns.append(self._column())
        source = self._source() if self._take("from") else None
        where = self._expr() if self._take("where") else None
        group = self._list() if self._take("group", "by") else ()
        having = self._expr() if self._take("having") else None
        order = []
        if self._take("order", "by"):
            order.append(self._ordered())
            while self._take(","):
                order.append(self._ordered())
        limit = self._expr() if self._take("limit") else None
        return Select(
            tuple(columns), distinct, source, where, group, having, tuple(order), limit
        )  # fmt: skip

    def _column(self) -> Column:
        begin = self._at
        expr = self._expr()
        text = self._sql[self._tokens[begin].begin : self._tokens[self._at - 1].end]
        if self._take("as"):
            return Column(expr, self._name(), True)
        if self._names_alias():
            return Column(expr, self._name(), True)
        return Column(expr, expr.chain[-1] if isinstance(expr, Field) else text, False)

    def _source(self) -> Source:
        table, query = None, None
        if self._take("("):
            query = self._query()
            self._need(")")
        else:
            table = self._name()
            while self._take("."):
                table += "." + self._name()
        alias = None
        if self._take("as") or self._names_alias():
            alias = self._name()
        if self._word() in (",", "join", "left", "inner", "cross", "right", "full", "array"):
            raise refused("The sandbox does not answer JOIN.")
        return Source(table, query, alias)

    def _ordered(self) -> tuple[Expr, bool]:
        expr = self._expr()
        descends = self._take("desc")
        if not descends:
            self._take("asc")
        return expr, descends

    def _list(self) -> tuple[Expr, ...]:
        found = [self._expr()]
        while self._take(","):
            found.append(self._expr())
        return tuple(found)

    # Expressions

    def _expr(self) -> Expr:
        left = self._and()
        while self._take("or"):
            left = Operation("or", (left, self._and()))
        return left

    def _and(self) -> Expr:
        left = self._not()
        while self._take("and"):
            left = Operation("and", (left, self._not()))
        return left

    def _not(self) -> Expr:
        if self._take("not"):
            return Operation("not", (self._not(),))
        return self._comparison()

    def _comparison(self) -> Expr:
        left = self._sum()
        while True:
            if (word := self._word()) in _COMPARED:
                self._at += 1
                left = Operation(_COMPARED[word], (left, self._sum()))
            elif self._take("is"):
                name = "is not null" if self._take("not") else "is null"
                self._need("null")
                left = Operation(name, (left,))
            else:
                found = self._negatable(left)
                if found is None:
                    return left
                left = found

    def _negatable(self, left: Expr) -> Expr | None:
        """IN, LIKE, ILIKE and BETWEEN, perhaps after NOT; None if none of them comes."""
        begin = self._at
        negated = self._take("not")
        found: Expr | None = None
        for word in ("in", "like", "ilike"):
            if found is None and self._take(word):
                found = Operation(word, (left, self._sum()))
        if found is None and self._take("between"):
            low = self._sum()
            self._need("and")
            bounds = (Operation(">=", (left, low)), Operation("<=", (left, self._sum())))
            found = Operation("and", bounds)
        if found is None:
            self._at = begin
            return None
        return Operation("not", (found,)) if negated else found

    def _sum(self) -> Expr:
        left = self._product()
        while (word := self._word()) in ("+", "-", "||"):
            self._at += 1
            left = Operation(word, (left, self._product()))
        return left

    def _product(self) -> Expr:
        left = self._negative()
        while (word := self._word()) in ("*", "/", "%"):
            self._at += 1
            left = Operation(word, (left, self._negative()))
        return left

    def _negative(self) -> Expr:
        if not self._take("-"):
            return self._primary()
        found = self._negative()
        if isinstance(found, Constant) and isinstance(found.value, (int, float)):
            return Constant(-found.value)
        return Operation("-", (Constant(0), found))

    def _primary(self) -> Expr:
        kind, word = self._kind(), self._word()
        if kind == "text":
            return Constant(unescaped(self._next().text[1:-1]))
        if kind == "number":
            text = self._next().text
            return Constant(int(text) if text.isdecimal() else float(text))
        if self._take("*"):
            return Star()
        if self._take("{"):
            name = self._name()
            self._need("}")
            return Placeholder(name)
        if self._take("["):
            items = () if self._word() == "]" else self._list()
            self._need("]")
            return Many(items, array=True)
        if self._take("("):
            return self._parenthesis()
        if kind == "name" and word in _WORDS:
            self._at += 1
            return Constant(_WORDS[word])
        if kind == "quoted" or (kind == "name" and word not in _ENDS):
            return self._named()
        raise self._unexpected()

    def _parenthesis(self) -> Expr:
        if self._word() == "select":
            query = self._query()
            self._need(")")
            return Subquery(query)
        items = self._list()
        single = len(items) == 1 and not self._take(",")
        self._need(")")
        return items[0] if single else Many(items)

    def _named(self) -> Expr:
        name = self._name()
        if self._take("("):
            distinct = self._take("distinct")
            args = () if self._word() == ")" else self._list()
            self._need(")")
            return Call(name, args, distinct)
        chain = [name]
        while self._take("."):
            if self._take("*"):
                return Star(name)
            chain.append(self._name())
        return Field(tuple(chain))
