//! HTML being written: everything that came from outside goes through [`Html::text`].

/// A piece of a page.
#[derive(Default, Debug)]
pub struct Html(pub String);

impl Html {
    /// HTML that is ours.
    pub fn raw(&mut self, html: &str) -> &mut Html {
        self.0.push_str(html);
        self
    }

    /// Text of anybody's, also inside of a quoted attribute.
    pub fn text(&mut self, text: &str) -> &mut Html {
        for c in text.chars() {
            match c {
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '&' => self.0.push_str("&amp;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// A labelled input.
    pub fn input(&mut self, label: &str, name: &str, kind: &str, value: &str, more: &str) -> &mut Html {
        self.raw("<label>").text(label).raw("<input name=\"").raw(name).raw("\" type=\"").raw(kind);
        self.raw("\" value=\"").text(value).raw("\" ").raw(more).raw("></label>")
    }

    /// A labelled choice: value and words, and which one is taken.
    pub fn select(
        &mut self,
        label: &str,
        name: &str,
        options: &[(String, String)],
        chosen: &str,
    ) -> &mut Html {
        self.raw("<label>").text(label).raw("<select name=\"").raw(name).raw("\">");
        for (value, words) in options {
            let mark = if value == chosen { " selected" } else { "" };
            self.raw("<option value=\"")
                .text(value)
                .raw("\"")
                .raw(mark)
                .raw(">")
                .text(words)
                .raw("</option>");
        }
        self.raw("</select></label>")
    }

    /// The beginning of a form that changes something.
    pub fn form(&mut self, action: &str, csrf: &str, class: &str) -> &mut Html {
        self.raw("<form method=\"post\" action=\"").text(action).raw("\" class=\"").raw(class);
        self.raw("\"><input type=\"hidden\" name=\"csrf\" value=\"").raw(csrf).raw("\">")
    }

    /// A form of one button.
    pub fn button(
        &mut self,
        action: &str,
        csrf: &str,
        class: &str,
        words: &str,
        fields: &[(&str, &str)],
    ) -> &mut Html {
        self.form(action, csrf, "inline");
        for (name, value) in fields {
            self.raw("<input type=\"hidden\" name=\"").raw(name).raw("\" value=\"").text(value).raw("\">");
        }
        self.raw("<button class=\"").raw(class).raw("\">").text(words).raw("</button></form>")
    }
}
