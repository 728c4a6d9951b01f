# The root shell of the rescue media.
PS1='rescue:\w# '
export PS1 LANG=C.UTF-8 EDITOR=nano PAGER=less
alias ll='ls -l'
